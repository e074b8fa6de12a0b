/* What a rollout works on: the network, the grid, and frames with their borders; see rollout.c. */
#ifndef FRAME_H
#define FRAME_H
#include <string.h>

#include "products.h"

#define CHUNK 48   /* cells that go through the network together; stays in the cache */

typedef struct {
    int32_t channels, hidden; /* padded to LANES */
    float threshold;
    const float *filter;              /* [2][9]: filter, transposed filter */
    const float *w1, *w1_t, *b1;      /* [hidden][3 channels], [3 channels][hidden], [hidden] */
    const float *w2, *w2_t, *b2;      /* [channels][hidden], [hidden][channels], [channels] */
} Net;

typedef struct {
    int32_t height, width, channels, wrap; /* channels without padding */
} Grid;

typedef struct {
    const Net *net;
    const Grid *grid;
    offset_t stride, frame; /* cells in a row, cells in a frame */
    offset_t offset[9];     /* of the 3x3 neighbours, in cells */
    float *x, *g, *rows, *perceived, *hidden, *hidden_grad, *perceived_grad, *zeros;
    int32_t *cells;
    uint8_t *opaque, *alive, *next, *post, *life, *line;
} Work;

static char *take_bytes(char **memory, offset_t bytes) {
    char *start = *memory;
    *memory += (bytes + 63) / 64 * 64;
    return start;
}

/* Lays out a Work in memory; returns the number of bytes that it needs, also if memory is 0. */
static offset_t lay_out(Work *w, const Net *net, const Grid *grid, char *memory) {
    char *start = memory;
    offset_t cp = net->channels, hp = net->hidden;
    w->net = net;
    w->grid = grid;
    w->stride = grid->width + 2;
    w->frame = w->stride * (grid->height + 2);
    for (int t = 0; t < 9; t++) w->offset[t] = (t / 3 - 1) * w->stride + t % 3 - 1;
    w->x = (float *)take_bytes(&memory, 4 * w->frame * cp);
    w->g = (float *)take_bytes(&memory, 4 * w->frame * cp);
    w->rows = (float *)take_bytes(&memory, 4 * (w->frame + 1) * cp);
    w->perceived = (float *)take_bytes(&memory, 4 * CHUNK * 3 * cp);
    w->perceived_grad = (float *)take_bytes(&memory, 4 * CHUNK * 3 * cp);
    w->hidden = (float *)take_bytes(&memory, 4 * CHUNK * hp);
    w->hidden_grad = (float *)take_bytes(&memory, 4 * CHUNK * hp);
    w->zeros = (float *)take_bytes(&memory, 4 * (3 * cp + hp));
    w->cells = (int32_t *)take_bytes(&memory, 4 * (w->frame + 1));
    w->opaque = (uint8_t *)take_bytes(&memory, w->frame);
    w->alive = (uint8_t *)take_bytes(&memory, w->frame);
    w->next = (uint8_t *)take_bytes(&memory, w->frame);
    w->post = (uint8_t *)take_bytes(&memory, w->frame);
    w->life = (uint8_t *)take_bytes(&memory, w->frame);
    w->line = (uint8_t *)take_bytes(&memory, w->frame);
    return memory - start;
}

offset_t scratch_bytes(const Net *net, const Grid *grid) {
    Work w;
    return lay_out(&w, net, grid, 0) + 64;
}

/* Lays out a Work and clears what must start at 0, but for the gradients, which only the backward pass needs. */
static void initialise(Work *w, const Net *net, const Grid *grid, char *memory) {
    lay_out(w, net, grid, (char *)(((uintptr_t)memory + 63) / 64 * 64));
    memset(w->x, 0, 4 * w->frame * net->channels);
    memset(w->zeros, 0, 4 * (3 * net->channels + net->hidden));
    memset(w->opaque, 0, w->frame);
    memset(w->next, 0, w->frame);
}

INLINE offset_t cell_at(const Work *w, int y, int x) { return (y + 1) * w->stride + x + 1; }

static void load_image(const Work *w, float *frame, const float *image) {
    int channels = w->grid->channels;
    for (int y = 0; y < w->grid->height; y++)
        for (int x = 0; x < w->grid->width; x++, image += channels)
            memcpy(frame + cell_at(w, y, x) * w->net->channels, image, 4 * channels);
}

static void store_image(const Work *w, const float *frame, float *image) {
    int channels = w->grid->channels;
    for (int y = 0; y < w->grid->height; y++)
        for (int x = 0; x < w->grid->width; x++, image += channels)
            memcpy(image, frame + cell_at(w, y, x) * w->net->channels, 4 * channels);
}

/* The cell inside the grid that a border cell copies; -1 where the boundary is empty. */
static offset_t cell_inside(const Work *w, offset_t p) {
    int height = w->grid->height, width = w->grid->width;
    int y = (int)(p / w->stride) - 1, x = (int)(p % w->stride) - 1;
    if (y >= 0 && y < height && x >= 0 && x < width) return p;
    return w->grid->wrap ? cell_at(w, (y + height) % height, (x + width) % width) : -1;
}

/* Runs DO for each border cell `p` of a wrapping grid and the cell `q` that it copies. */
#define BORDER(w, DO)                                                              \
    if ((w)->grid->wrap)                                                           \
        for (offset_t p = 0; p < (w)->frame; p++) {                                    \
            offset_t column = p % (w)->stride;                                         \
            if (p >= (w)->stride && p < (w)->frame - (w)->stride && column == 1)   \
                p += (w)->stride - 2; /* from the left border to the right one */  \
            offset_t q = cell_inside(w, p);                                                  \
            DO;                                                                    \
        }

/* Copies the opposite edges into the border. */
static void wrap_frame(const Work *w) {
    offset_t cp = w->net->channels;
    BORDER(w, memcpy(w->x + p * cp, w->x + q * cp, 4 * cp))
}

/* The transpose of wrap_frame: adds the gradients of border cells to those of the cells that they copy. */
static void add_border_gradients(const Work *w) {
    offset_t cp = w->net->channels;
    BORDER(w, for (offset_t c = 0; c < cp; c++) w->g[q * cp + c] += w->g[p * cp + c])
}

/* The 3x3 maximum of a byte map; the border of `out` is 0, because border cells are not alive. */
static void dilate(const Work *w, uint8_t *map, uint8_t *out) {
    offset_t n = w->frame, stride = w->stride;
    BORDER(w, map[p] = map[q])
    w->line[0] = w->line[n - 1] = 0;
    for (offset_t p = 1; p < n - 1; p++) w->line[p] = map[p - 1] | map[p] | map[p + 1];
    memset(out, 0, n);
    for (int y = 0; y < w->grid->height; y++)
        for (offset_t p = cell_at(w, y, 0), end = p + w->grid->width; p < end; p++)
            out[p] = w->line[p - stride] | w->line[p] | w->line[p + stride];
}

#endif
