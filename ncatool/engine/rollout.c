/* The rollout of one sample, many steps forward and backward, visiting only living cells that fire.
 *
 * A frame is [height + 2][width + 2][channels]: it has a border of one cell, empty or (wrap) a copy of
 * the opposite edge, so that filters need no special case there. Channels and hidden units are padded
 * to whole vectors. States change in place; what a step overwrites goes into a log, from which the
 * backward pass restores every earlier state exactly and recomputes perception and hidden units.
 */
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "frame.h"

#define ALPHA 3

typedef struct {
    float *values;  /* [entries][channels]: cells before they were overwritten */
    int32_t *cells; /* [entries] */
    int32_t *counts; /* [steps][2]: cells updated, cells erased */
    uint8_t *life;  /* [steps][frame cells]: alive before and after the step */
} Log;

int32_t lanes(void) { return LANES; }

INLINE void perceive(const Work *w, offset_t cell, float *perceived) {
    offset_t cp = w->net->channels;
    const float *filter = w->net->filter;
    for (offset_t c = 0; c < cp; c += LANES) {
        vec filtered = {0}, transposed = {0};
        for (int t = 0; t < 9; t++) {
            vec value = AT(w->x + (cell + w->offset[t]) * cp + c);
            filtered += filter[t] * value;
            transposed += filter[9 + t] * value;
        }
        AT(perceived + c) = AT(w->x + cell * cp + c);
        AT(perceived + cp + c) = filtered;
        AT(perceived + 2 * cp + c) = transposed;
    }
}

/* The transpose of perceive: adds the gradient by what a cell perceived to the cells that it perceived. */
INLINE void perceive_backward(const Work *w, offset_t cell, const float *gradient) {
    offset_t cp = w->net->channels;
    const float *filter = w->net->filter;
    for (offset_t c = 0; c < cp; c += LANES) {
        vec filtered = AT(gradient + cp + c), transposed = AT(gradient + 2 * cp + c);
        AT(w->g + cell * cp + c) += AT(gradient + c);
        for (int t = 0; t < 9; t++)
            AT(w->g + (cell + w->offset[t]) * cp + c) += filter[t] * filtered + filter[9 + t] * transposed;
    }
}

/* Perceives and computes the hidden units, after relu, of at most CHUNK cells. */
static void compute_hidden(const Work *w, const int32_t *cells, int count) {
    const Net *net = w->net;
    for (int i = 0; i < count; i++) perceive(w, cells[i], w->perceived + (offset_t)i * 3 * net->channels);
    multiply(count, net->hidden, 3 * net->channels, w->perceived, 3 * net->channels, 1, net->w1_t, w->hidden,
            net->b1, 1);
}

/* Writes the change of each of the cells. */
static void update(const Work *w, const int32_t *cells, int count, float *change) {
    const Net *net = w->net;
    for (int i = 0; i < count; i += CHUNK) {
        int n = count - i < CHUNK ? count - i : CHUNK;
        compute_hidden(w, cells + i, n);
        multiply(n, net->channels, net->hidden, w->hidden, net->hidden, 1, net->w2_t,
                change + (offset_t)i * net->channels, net->b2, 0);
    }
}

/* Lists the living cells that fire in w->cells; returns how many there are. */
static int list_firing_cells(const Work *w, const uint8_t *fire) {
    int count = 0;
    for (int y = 0; y < w->grid->height; y++)
        for (int x = 0; x < w->grid->width; x++) {
            offset_t p = cell_at(w, y, x);
            w->cells[count] = (int32_t)p; /* always written, counted if true: no branch to predict */
            count += w->alive[p] & *fire++;
        }
    return count;
}

/* Whether a living cell that has no opaque neighbour left survives this step beside a dead cell that
 * fires and turns opaque: the dead cell's update is discarded, but its new alpha keeps others alive.
 * This is rare, so such dead cells are computed one by one, and only where they matter. */
static int survives(const Work *w, offset_t cell, const uint8_t *fire, float *change) {
    for (int t = 0; t < 9; t++) {
        offset_t q = cell_inside(w, cell + w->offset[t]);
        if (q < 0 || w->alive[q]) continue;
        offset_t y = q / w->stride - 1, x = q % w->stride - 1;
        if (!fire[y * w->grid->width + x]) continue;
        int32_t dead = (int32_t)q;
        update(w, &dead, 1, change);
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

/* Copies a cell into the log, if there is one, before it changes. */
static void log_cell(Writer *writer, const Work *w, int32_t cell) {
    offset_t cp = w->net->channels;
    if (!writer->log) return;
    memcpy(writer->log->values + writer->entries * cp, w->x + cell * cp, 4 * cp);
    writer->log->cells[writer->entries++] = cell;
}

/* Advances one step in place. `stray`: cells that are not alive may hold values; returns the same for
 * the next step. */
static int step(Work *w, const uint8_t *fire, int stray, Writer *writer, int32_t *counts, uint8_t *life) {
    offset_t cp = w->net->channels;
    int count = list_firing_cells(w, fire), erased = 0, leftover = 0;
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
                life[p] = (uint8_t)survives(w, p, fire, w->rows + (offset_t)count * cp);
                leftover |= life[p];
            }
    for (int i = 0; i < count; i++) {
        int32_t p = w->cells[i];
        log_cell(writer, w, p);
        for (offset_t c = 0; c < cp; c += LANES) AT(w->x + p * cp + c) += AT(w->rows + i * cp + c);
    }
    for (int y = 0; y < w->grid->height; y++)
        for (offset_t p = cell_at(w, y, 0), end = p + w->grid->width; p < end; p++)
            if (!life[p] && (stray | w->alive[p]) && !is_empty(w->x + p * cp, cp)) {
                log_cell(writer, w, (int32_t)p);
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
/* "memory": the compiler must not move arithmetic, all of it on values in memory, across these. */
#define FLUSH_DENORMALS uint64_t control; __asm__ volatile("mrs %0, fpcr" : "=r"(control) : : "memory"); \
    __asm__ volatile("msr fpcr, %0" : : "r"(control | (1ul << 24)) : "memory");
#define RESTORE_CONTROL __asm__ volatile("msr fpcr, %0" : : "r"(control) : "memory");
#else
#define FLUSH_DENORMALS
#define RESTORE_CONTROL
#endif

/* Advances `state` [height][width][channels] in place. `fire` has the masks of all steps, `fire_step`
 * bytes apart. If there is a log, writes what `backward` needs; returns the number of its entries. */
offset_t forward(const Net *net, const Grid *grid, int steps, const uint8_t *fire, offset_t fire_step,
             float *state, char *memory, Log *log) {
    Work w;
    Writer writer = {log, 0};
    int32_t counts[2];
    int stray = 1;
    FLUSH_DENORMALS
    initialise(&w, net, grid, memory);
    load_image(&w, w.x, state);
    wrap_frame(&w);
    for (offset_t p = 0; p < w.frame; p++) w.opaque[p] = w.x[p * net->channels + ALPHA] > net->threshold;
    dilate(&w, w.opaque, w.alive);
    for (int t = 0; t < steps; t++)
        stray = step(&w, fire + t * fire_step, stray, &writer, log ? log->counts + 2 * t : counts,
                     log ? log->life + t * w.frame : w.life);
    store_image(&w, w.x, state);
    RESTORE_CONTROL
    return writer.entries;
}

typedef struct {
    float *w1_t, *b1, *w2, *b2; /* as in Net; gradients are added to them */
} Gradient;

/* Copies entries of the log back, the latest first: a cell may have two in one step. */
static void restore_cells(const Work *w, const Log *log, offset_t first, offset_t count) {
    offset_t cp = w->net->channels;
    for (offset_t e = first + count - 1; e >= first; e--)
        memcpy(w->x + log->cells[e] * cp, log->values + e * cp, 4 * cp);
}

/* Adds the gradients by the weights to `sum`, and those by the state to w->g, for the cells that fired. */
static void backward_step(const Work *w, const int32_t *cells, int count, Gradient *sum) {
    const Net *net = w->net;
    offset_t cp = net->channels, hp = net->hidden;
    for (int i = 0; i < count; i++) memcpy(w->rows + i * cp, w->g + cells[i] * cp, 4 * cp);
    for (int i = 0; i < count; i += CHUNK) {
        int n = count - i < CHUNK ? count - i : CHUNK;
        const float *out = w->rows + i * cp;
        compute_hidden(w, cells + i, n);
        multiply(n, hp, cp, out, cp, 1, net->w2, w->hidden_grad, w->zeros, 0);
        for (offset_t j = 0; j < n * hp; j += LANES)
            AT(w->hidden_grad + j) = (vec)((ivec)AT(w->hidden_grad + j) & (AT(w->hidden + j) > AT(w->zeros)));
        add_rows(n, cp, out, sum->b2);
        add_rows(n, hp, w->hidden_grad, sum->b1);
        multiply(cp, hp, n, out, 1, cp, w->hidden, sum->w2, 0, 0);
        multiply(3 * cp, hp, n, w->perceived, 1, 3 * cp, w->hidden_grad, sum->w1_t, 0, 0);
        multiply(n, 3 * cp, hp, w->hidden_grad, hp, 1, net->w1, w->perceived_grad, w->zeros, 0);
        for (int k = 0; k < n; k++) perceive_backward(w, cells[i + k], w->perceived_grad + k * 3 * cp);
    }
}

/* Turns the gradient by the final state into the one by the first state, in place. `final` is the state
 * that `forward` wrote, `entries` what it returned. */
void backward(const Net *net, const Grid *grid, int steps, const float *final, float *gradient,
              char *memory, const Log *log, offset_t entries, Gradient *sum) {
    Work w;
    offset_t cp = net->channels;
    FLUSH_DENORMALS
    initialise(&w, net, grid, memory);
    load_image(&w, w.x, final);
    memset(w.g, 0, 4 * w.frame * cp);
    load_image(&w, w.g, gradient);
    for (int t = steps - 1; t >= 0; t--) {
        const int32_t *counts = log->counts + 2 * t;
        const uint8_t *life = log->life + t * w.frame;
        entries -= counts[0] + counts[1];
        restore_cells(&w, log, entries, counts[0] + counts[1]);
        wrap_frame(&w);
        for (offset_t p = 0; p < w.frame; p++)
            if (!life[p]) memset(w.g + p * cp, 0, 4 * cp);
        backward_step(&w, log->cells + entries, counts[0], sum);
        add_border_gradients(&w);
    }
    store_image(&w, w.g, gradient);
    RESTORE_CONTROL
}
