/* One sample's rollout, many steps forward and backward, visiting only living cells that fire.
 *
 * A frame is [height + 2][width + 2][channels]: a border of one cell, empty or (wrap) a copy of the
 * opposite edge, spares every stencil its edge cases. Channels and hidden units are padded to whole
 * vectors. States change in place; what a step overwrote goes into a log, from which the backward
 * pass restores every earlier state exactly and recomputes perception and hidden units.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#define MAX_COLUMNS 4
#elif defined(__AVX__)
#define LANES 8
#define MAX_COLUMNS 2
#elif defined(__aarch64__)
#define LANES 4
#define MAX_COLUMNS 4
#else
#define LANES 4
#define MAX_COLUMNS 2
#endif
#define MAX_ROWS 6 /* with MAX_COLUMNS vectors each, the accumulators fill the registers */
#define CHUNK 48   /* cells that go through the network together; stays in the cache */
#define ALPHA 3

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef ptrdiff_t offset_t;
#define INLINE static inline __attribute__((always_inline))
#define AT(pointer) (*(vec *)(pointer))

typedef struct {
    int32_t channels, hidden; /* padded to LANES */
    float threshold;
    const float *kernel;              /* [2][9]: filter, transposed filter */
    const float *w1, *w1_t, *b1;      /* [hidden][3 channels], [3 channels][hidden], [hidden] */
    const float *w2, *w2_t, *b2;      /* [channels][hidden], [hidden][channels], [channels] */
} Net;

typedef struct {
    int32_t height, width, channels, wrap; /* channels as the caller has them, not padded */
} Grid;

typedef struct {
    float *values;  /* [entries][channels]: cells before they were overwritten */
    int32_t *cells; /* [entries] */
    int32_t *counts; /* [steps][2]: cells updated, cells erased */
    uint8_t *life;  /* [steps][frame cells]: alive before and after the step */
} Log;

int32_t lanes(void) { return LANES; }

/* ---------- products ---------- */

/* c[i][j] = init[j] + sum over k of a(i, k) b[k][j], for R rows and C vectors; init 0: adds to c. */
INLINE void tile(const int R, const int C, int depth, const float *a, offset_t a_row, offset_t a_step,
                 const float *b, offset_t b_step, float *c, offset_t c_row, const float *init, int relu) {
    vec sum[MAX_ROWS][MAX_COLUMNS], zero = {0};
    for (int i = 0; i < R; i++)
        for (int j = 0; j < C; j++) sum[i][j] = AT((init ? init : c + i * c_row) + j * LANES);
    for (int k = 0; k < depth; k++) {
        vec row[MAX_COLUMNS];
        for (int j = 0; j < C; j++) row[j] = AT(b + k * b_step + j * LANES);
        for (int i = 0; i < R; i++) {
            float scalar = a[i * a_row + k * a_step];
            for (int j = 0; j < C; j++) sum[i][j] += scalar * row[j];
        }
    }
    for (int i = 0; i < R; i++)
        for (int j = 0; j < C; j++)
            AT(c + i * c_row + j * LANES) = relu ? (vec)((ivec)sum[i][j] & (sum[i][j] > zero)) : sum[i][j];
}

#define TILE(R, C) \
    case (R) * 8 + (C): tile(R, C, depth, a, a_row, a_step, b, b_step, c, c_row, init, relu); break;
#define TILES(C) TILE(1, C) TILE(2, C) TILE(3, C) TILE(4, C) TILE(5, C) TILE(6, C)

static void any_tile(int rows, int columns, int depth, const float *a, offset_t a_row, offset_t a_step,
                     const float *b, offset_t b_step, float *c, offset_t c_row, const float *init, int relu) {
    switch (rows * 8 + columns) {
        TILES(1) TILES(2)
#if MAX_COLUMNS > 2
        TILES(3) TILES(4)
#endif
    }
}

static void product(int rows, int width, int depth, const float *a, offset_t a_row, offset_t a_step,
                    const float *b, float *c, const float *init, int relu) {
    for (int j = 0; j < width; j += MAX_COLUMNS * LANES) {
        int columns = (width - j) / LANES < MAX_COLUMNS ? (width - j) / LANES : MAX_COLUMNS;
        for (int i = 0; i < rows; i += MAX_ROWS)
            any_tile(rows - i < MAX_ROWS ? rows - i : MAX_ROWS, columns, depth, a + i * a_row, a_row,
                     a_step, b + j, width, c + (offset_t)i * width + j, width, init ? init + j : 0, relu);
    }
}

INLINE void add_rows(int rows, int width, const float *from, float *sum) {
    for (int j = 0; j < width; j += LANES) {
        vec total = AT(sum + j);
        for (int i = 0; i < rows; i++) total += AT(from + (offset_t)i * width + j);
        AT(sum + j) = total;
    }
}

/* ---------- scratch and frames ---------- */

typedef struct {
    const Net *net;
    const Grid *grid;
    offset_t stride, frame; /* cells in a row, cells in a frame */
    offset_t offset[9];     /* of the 3x3 neighbours, in cells */
    float *x, *g, *rows, *seen, *hidden, *back, *back_seen, *zeros;
    int32_t *cells;
    uint8_t *opaque, *alive, *next, *post, *life, *line;
} Work;

static char *take(char **memory, offset_t bytes) {
    char *start = *memory;
    *memory += (bytes + 63) / 64 * 64;
    return start;
}

/* Lays a Work out in memory; with memory 0 the return value is the number of bytes it needs. */
static offset_t lay_out(Work *w, const Net *net, const Grid *grid, char *memory) {
    char *start = memory;
    offset_t cp = net->channels, hp = net->hidden;
    w->net = net;
    w->grid = grid;
    w->stride = grid->width + 2;
    w->frame = w->stride * (grid->height + 2);
    for (int t = 0; t < 9; t++) w->offset[t] = (t / 3 - 1) * w->stride + t % 3 - 1;
    w->x = (float *)take(&memory, 4 * w->frame * cp);
    w->g = (float *)take(&memory, 4 * w->frame * cp);
    w->rows = (float *)take(&memory, 4 * (w->frame + 1) * cp);
    w->seen = (float *)take(&memory, 4 * CHUNK * 3 * cp);
    w->back_seen = (float *)take(&memory, 4 * CHUNK * 3 * cp);
    w->hidden = (float *)take(&memory, 4 * CHUNK * hp);
    w->back = (float *)take(&memory, 4 * CHUNK * hp);
    w->zeros = (float *)take(&memory, 4 * (3 * cp + hp));
    w->cells = (int32_t *)take(&memory, 4 * (w->frame + 1));
    w->opaque = (uint8_t *)take(&memory, w->frame);
    w->alive = (uint8_t *)take(&memory, w->frame);
    w->next = (uint8_t *)take(&memory, w->frame);
    w->post = (uint8_t *)take(&memory, w->frame);
    w->life = (uint8_t *)take(&memory, w->frame);
    w->line = (uint8_t *)take(&memory, w->frame);
    return memory - start;
}

offset_t scratch_bytes(const Net *net, const Grid *grid) {
    Work w;
    return lay_out(&w, net, grid, 0) + 64;
}

static void open_work(Work *w, const Net *net, const Grid *grid, char *memory) {
    lay_out(w, net, grid, (char *)(((uintptr_t)memory + 63) / 64 * 64));
    memset(w->x, 0, 4 * w->frame * net->channels);
    memset(w->g, 0, 4 * w->frame * net->channels);
    memset(w->zeros, 0, 4 * (3 * net->channels + net->hidden));
    memset(w->opaque, 0, w->frame);
    memset(w->next, 0, w->frame);
}

INLINE offset_t cell_at(const Work *w, int y, int x) { return (y + 1) * w->stride + x + 1; }

static void load(const Work *w, float *frame, const float *image) {
    int channels = w->grid->channels;
    for (int y = 0; y < w->grid->height; y++)
        for (int x = 0; x < w->grid->width; x++, image += channels)
            memcpy(frame + cell_at(w, y, x) * w->net->channels, image, 4 * channels);
}

static void store(const Work *w, const float *frame, float *image) {
    int channels = w->grid->channels;
    for (int y = 0; y < w->grid->height; y++)
        for (int x = 0; x < w->grid->width; x++, image += channels)
            memcpy(image, frame + cell_at(w, y, x) * w->net->channels, 4 * channels);
}

/* The cell inside the grid that a border cell stands for; -1 where the boundary is empty. */
static offset_t inner(const Work *w, offset_t p) {
    int height = w->grid->height, width = w->grid->width;
    int y = (int)(p / w->stride) - 1, x = (int)(p % w->stride) - 1;
    if (y >= 0 && y < height && x >= 0 && x < width) return p;
    return w->grid->wrap ? cell_at(w, (y + height) % height, (x + width) % width) : -1;
}

/* Calls DO for each border cell `p` of a wrapping grid and the cell `q` it stands for. */
#define BORDER(w, DO)                                                              \
    if ((w)->grid->wrap)                                                           \
        for (offset_t p = 0; p < (w)->frame; p++) {                                    \
            offset_t column = p % (w)->stride;                                         \
            if (p >= (w)->stride && p < (w)->frame - (w)->stride && column == 1)   \
                p += (w)->stride - 2; /* from the left border to the right one */  \
            offset_t q = inner(w, p);                                                  \
            DO;                                                                    \
        }

static void wrap_frame(const Work *w) {
    offset_t cp = w->net->channels;
    BORDER(w, memcpy(w->x + p * cp, w->x + q * cp, 4 * cp))
}

static void fold_gradient(const Work *w) {
    offset_t cp = w->net->channels;
    BORDER(w, for (offset_t c = 0; c < cp; c++) w->g[q * cp + c] += w->g[p * cp + c])
}

/* 3x3 maximum of a byte map; the border of `out` is 0, for border cells do not live. */
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

/* ---------- the rule ---------- */

INLINE void perceive(const Work *w, offset_t cell, float *seen) {
    offset_t cp = w->net->channels;
    const float *kernel = w->net->kernel;
    for (offset_t c = 0; c < cp; c += LANES) {
        vec filtered = {0}, transposed = {0};
        for (int t = 0; t < 9; t++) {
            vec value = AT(w->x + (cell + w->offset[t]) * cp + c);
            filtered += kernel[t] * value;
            transposed += kernel[9 + t] * value;
        }
        AT(seen + c) = AT(w->x + cell * cp + c);
        AT(seen + cp + c) = filtered;
        AT(seen + 2 * cp + c) = transposed;
    }
}

/* The transpose of perceive: what a cell saw passes its gradient to the cells seen. */
INLINE void unperceive(const Work *w, offset_t cell, const float *seen) {
    offset_t cp = w->net->channels;
    const float *kernel = w->net->kernel;
    for (offset_t c = 0; c < cp; c += LANES) {
        vec filtered = AT(seen + cp + c), transposed = AT(seen + 2 * cp + c);
        AT(w->g + cell * cp + c) += AT(seen + c);
        for (int t = 0; t < 9; t++)
            AT(w->g + (cell + w->offset[t]) * cp + c) += kernel[t] * filtered + kernel[9 + t] * transposed;
    }
}

static void see(const Work *w, const int32_t *cells, int count) {
    const Net *net = w->net;
    for (int i = 0; i < count; i++) perceive(w, cells[i], w->seen + (offset_t)i * 3 * net->channels);
    product(count, net->hidden, 3 * net->channels, w->seen, 3 * net->channels, 1, net->w1_t, w->hidden,
            net->b1, 1);
}

static void update(const Work *w, const int32_t *cells, int count, float *change) {
    const Net *net = w->net;
    for (int i = 0; i < count; i += CHUNK) {
        int n = count - i < CHUNK ? count - i : CHUNK;
        see(w, cells + i, n);
        product(n, net->channels, net->hidden, w->hidden, net->hidden, 1, net->w2_t,
                change + (offset_t)i * net->channels, net->b2, 0);
    }
}

static int firing(const Work *w, const uint8_t *fire) {
    int count = 0;
    for (int y = 0; y < w->grid->height; y++)
        for (int x = 0; x < w->grid->width; x++) {
            offset_t p = cell_at(w, y, x);
            w->cells[count] = (int32_t)p; /* written always, counted if it holds: no branch to guess */
            count += w->alive[p] & *fire++;
        }
    return count;
}

/* A dead cell's update is masked away, but its alpha counts when the rule asks who lives on: a
 * living cell with no opaque neighbour left survives this step beside a dead cell that fires and
 * turns opaque. Rare, so those cells are computed one by one, and only where they can matter. */
static int saved_by_the_dead(const Work *w, offset_t cell, const uint8_t *fire, float *change) {
    for (int t = 0; t < 9; t++) {
        offset_t q = inner(w, cell + w->offset[t]);
        if (q < 0 || w->alive[q]) continue;
        offset_t y = q / w->stride - 1, x = q % w->stride - 1;
        if (!fire[y * w->grid->width + x]) continue;
        int32_t one = (int32_t)q;
        update(w, &one, 1, change);
        if (w->x[q * w->net->channels + ALPHA] + change[ALPHA] > w->net->threshold) return 1;
    }
    return 0;
}

static int is_empty(const float *cell, offset_t channels) {
    for (offset_t c = 0; c < channels; c++)
        if (cell[c] != 0) return 0;
    return 1;
}

typedef struct {
    Log *log;
    offset_t entries;
} Writer;

static void keep(Writer *writer, const Work *w, int32_t cell) {
    offset_t cp = w->net->channels;
    if (!writer->log) return;
    memcpy(writer->log->values + writer->entries * cp, w->x + cell * cp, 4 * cp);
    writer->log->cells[writer->entries++] = cell;
}

/* One step in place. `stray`: cells that are not alive may hold values; says so for the next step. */
static int step(Work *w, const uint8_t *fire, int stray, Writer *writer, int32_t *counts, uint8_t *life) {
    offset_t cp = w->net->channels;
    int count = firing(w, fire), erased = 0, leftover = 0;
    update(w, w->cells, count, w->rows);
    memcpy(w->next, w->opaque, w->frame);
    for (int i = 0; i < count; i++) {
        offset_t p = w->cells[i];
        w->next[p] = w->x[p * cp + ALPHA] + w->rows[i * cp + ALPHA] > w->net->threshold;
    }
    dilate(w, w->next, w->post);
    memcpy(life, w->alive, w->frame);
    for (int y = 0; y < w->grid->height; y++)
        for (offset_t p = cell_at(w, y, 0), end = p + w->grid->width; p < end; p++)
            if (w->alive[p] & !w->post[p]) {
                life[p] = (uint8_t)saved_by_the_dead(w, p, fire, w->rows + (offset_t)count * cp);
                leftover |= life[p];
            }
    for (int i = 0; i < count; i++) {
        int32_t p = w->cells[i];
        keep(writer, w, p);
        for (offset_t c = 0; c < cp; c += LANES) AT(w->x + p * cp + c) += AT(w->rows + i * cp + c);
    }
    for (int y = 0; y < w->grid->height; y++)
        for (offset_t p = cell_at(w, y, 0), end = p + w->grid->width; p < end; p++)
            if (!life[p] && (stray | w->alive[p]) && !is_empty(w->x + p * cp, cp)) {
                keep(writer, w, (int32_t)p);
                memset(w->x + p * cp, 0, 4 * cp);
                erased++;
            }
    wrap_frame(w);
    uint8_t *swap = w->opaque;
    w->opaque = w->next;
    w->next = swap;
    memcpy(w->alive, w->post, w->frame);
    counts[0] = count;
    counts[1] = erased;
    return leftover;
}

#if defined(__SSE__)
#define FLUSH_DENORMALS unsigned control = _mm_getcsr(); _mm_setcsr(control | 0x8040);
#define RESTORE_CONTROL _mm_setcsr(control);
#elif defined(__aarch64__)
#define FLUSH_DENORMALS uint64_t control; __asm__ volatile("mrs %0, fpcr" : "=r"(control)); \
    __asm__ volatile("msr fpcr, %0" : : "r"(control | (1ul << 24)));
#define RESTORE_CONTROL __asm__ volatile("msr fpcr, %0" : : "r"(control));
#else
#define FLUSH_DENORMALS
#define RESTORE_CONTROL
#endif

/* Advances `state` [height][width][channels] in place; `fire` [steps][...], `fire_step` bytes apart.
 * With a log, writes what `backward` needs and returns the number of its entries. */
offset_t forward(const Net *net, const Grid *grid, int steps, const uint8_t *fire, offset_t fire_step,
             float *state, char *memory, Log *log) {
    Work w;
    Writer writer = {log, 0};
    int32_t counts[2];
    int stray = 1;
    FLUSH_DENORMALS
    open_work(&w, net, grid, memory);
    load(&w, w.x, state);
    wrap_frame(&w);
    for (offset_t p = 0; p < w.frame; p++) w.opaque[p] = w.x[p * net->channels + ALPHA] > net->threshold;
    dilate(&w, w.opaque, w.alive);
    for (int t = 0; t < steps; t++)
        stray = step(&w, fire + t * fire_step, stray, &writer, log ? log->counts + 2 * t : counts,
                     log ? log->life + t * w.frame : w.life);
    store(&w, w.x, state);
    RESTORE_CONTROL
    return writer.entries;
}

typedef struct {
    float *w1_t, *b1, *w2, *b2; /* as in Net; added to */
} Gradient;

static void restore(const Work *w, const Log *log, offset_t first, offset_t count) {
    offset_t cp = w->net->channels;
    for (offset_t e = first + count - 1; e >= first; e--)
        memcpy(w->x + log->cells[e] * cp, log->values + e * cp, 4 * cp);
}

static void backward_step(const Work *w, const int32_t *cells, int count, Gradient *sum) {
    const Net *net = w->net;
    offset_t cp = net->channels, hp = net->hidden;
    for (int i = 0; i < count; i++) memcpy(w->rows + i * cp, w->g + cells[i] * cp, 4 * cp);
    for (int i = 0; i < count; i += CHUNK) {
        int n = count - i < CHUNK ? count - i : CHUNK;
        const float *out = w->rows + i * cp;
        see(w, cells + i, n);
        product(n, hp, cp, out, cp, 1, net->w2, w->back, w->zeros, 0);
        for (offset_t j = 0; j < n * hp; j += LANES)
            AT(w->back + j) = (vec)((ivec)AT(w->back + j) & (AT(w->hidden + j) > AT(w->zeros)));
        add_rows(n, cp, out, sum->b2);
        add_rows(n, hp, w->back, sum->b1);
        product(cp, hp, n, out, 1, cp, w->hidden, sum->w2, 0, 0);
        product(3 * cp, hp, n, w->seen, 1, 3 * cp, w->back, sum->w1_t, 0, 0);
        product(n, 3 * cp, hp, w->back, hp, 1, net->w1, w->back_seen, w->zeros, 0);
        for (int k = 0; k < n; k++) unperceive(w, cells[i + k], w->back_seen + k * 3 * cp);
    }
}

/* From the gradient by the final state, in place, to the one by the first; `final` as forward left it. */
void backward(const Net *net, const Grid *grid, int steps, const float *final, float *gradient,
              char *memory, const Log *log, offset_t entries, Gradient *sum) {
    Work w;
    offset_t cp = net->channels;
    FLUSH_DENORMALS
    open_work(&w, net, grid, memory);
    load(&w, w.x, final);
    load(&w, w.g, gradient);
    for (int t = steps - 1; t >= 0; t--) {
        const int32_t *counts = log->counts + 2 * t;
        const uint8_t *life = log->life + t * w.frame;
        entries -= counts[0] + counts[1];
        restore(&w, log, entries, counts[0] + counts[1]);
        wrap_frame(&w);
        for (offset_t p = 0; p < w.frame; p++)
            if (!life[p]) memset(w.g + p * cp, 0, 4 * cp);
        backward_step(&w, log->cells + entries, counts[0], sum);
        fold_gradient(&w);
    }
    store(&w, w.g, gradient);
    RESTORE_CONTROL
}
