/* A neural cellular automaton that grows a picture from @GROWN_FROM@, exported by ncatool.
 *
@DESCRIPTION@
 *
 * float state[@PREFIX@_SIZE], next[@PREFIX@_SIZE];
 * unsigned char fire[@PREFIX@_CELLS], alive[@PREFIX@_CELLS];
 * @PREFIX@_seed(@SEED_ARGUMENTS@);
 * for each step: set fire to 1 for each cell with probability @PREFIX@_fire_rate, otherwise to 0;
 *                call @PREFIX@_step(state, next, fire, alive); then swap state and next.
 *
 * States are [height][width][channel]: RGB premultiplied by alpha, alpha, hidden channels.
 * C99 and C++; no library is needed.
 */
#ifndef @GUARD@
#define @GUARD@

enum {
    @PREFIX@_CHANNELS = @CHANNELS@,
    @PREFIX@_HIDDEN = @HIDDEN@,
    @PREFIX@_HEIGHT = @HEIGHT@,
    @PREFIX@_WIDTH = @WIDTH@,
    @PREFIX@_CELLS = @PREFIX@_HEIGHT * @PREFIX@_WIDTH,
    @PREFIX@_SIZE = @PREFIX@_CELLS * @PREFIX@_CHANNELS,
    @PREFIX@_WRAP = @WRAP@ /* 1: cells at an edge are neighbours of those at the opposite edge */
};

static const float @PREFIX@_fire_rate = @FIRE_RATE@;
static const float @PREFIX@_threshold = @THRESHOLD@;

/* filters [2][3][3]: filter, transposed filter; w1 [hidden][3 channels]: identity, filter, transposed filter;
 * b1 [hidden]; w2 [channels][hidden]; b2 [channels] */
@ARRAYS@
/* Return the index of a cell. Outside the grid: wrap around, or return -1 if the grid does not wrap. */
static inline int @PREFIX@_find_cell(int row, int column)
{
    if (@PREFIX@_WRAP) {
        row = (row + @PREFIX@_HEIGHT) % @PREFIX@_HEIGHT;
        column = (column + @PREFIX@_WIDTH) % @PREFIX@_WIDTH;
    } else if (row < 0 || row >= @PREFIX@_HEIGHT || column < 0 || column >= @PREFIX@_WIDTH) {
        return -1;
    }
    return row * @PREFIX@_WIDTH + column;
}

/* Return 1 if any alpha in the 3x3 neighbourhood is above the threshold, otherwise 0. */
static inline int @PREFIX@_is_alive(const float *state, int row, int column)
{
    int dy, dx;
    for (dy = -1; dy <= 1; dy++)
        for (dx = -1; dx <= 1; dx++) {
            int cell = @PREFIX@_find_cell(row + dy, column + dx);
            if (cell >= 0 && state[cell * @PREFIX@_CHANNELS + 3] > @PREFIX@_threshold) return 1;
        }
    return 0;
}

/* Add the network's output for one cell to its channels in `next`. */
static inline void @PREFIX@_update(const float *state, float *next, int row, int column)
{
    float perception[3 * @PREFIX@_CHANNELS];
    int i, j, k, first = @PREFIX@_find_cell(row, column) * @PREFIX@_CHANNELS;
    for (i = 0; i < @PREFIX@_CHANNELS; i++) {
        perception[i] = state[first + i];
        perception[@PREFIX@_CHANNELS + i] = 0.0f;
        perception[2 * @PREFIX@_CHANNELS + i] = 0.0f;
    }
    for (k = 0; k < 9; k++) {
        int cell = @PREFIX@_find_cell(row + k / 3 - 1, column + k % 3 - 1);
        if (cell < 0) continue;
        for (i = 0; i < @PREFIX@_CHANNELS; i++) {
            float value = state[cell * @PREFIX@_CHANNELS + i];
            perception[@PREFIX@_CHANNELS + i] += @PREFIX@_filters[k] * value;
            perception[2 * @PREFIX@_CHANNELS + i] += @PREFIX@_filters[9 + k] * value;
        }
    }
    for (i = 0; i < @PREFIX@_CHANNELS; i++) next[first + i] += @PREFIX@_b2[i];
    for (j = 0; j < @PREFIX@_HIDDEN; j++) {
        float sum = @PREFIX@_b1[j];
        for (i = 0; i < 3 * @PREFIX@_CHANNELS; i++) sum += @PREFIX@_w1[j * 3 * @PREFIX@_CHANNELS + i] * perception[i];
        if (sum > 0.0f)
            for (i = 0; i < @PREFIX@_CHANNELS; i++) next[first + i] += @PREFIX@_w2[i * @PREFIX@_HIDDEN + j] * sum;
    }
}

/* Compute one step: update the cells that fire, then clear those that are not alive both before and after.
 * `alive` [CELLS] is working memory. */
static inline void @PREFIX@_step(const float *state, float *next, const unsigned char *fire, unsigned char *alive)
{
    int i, cell;
    for (i = 0; i < @PREFIX@_SIZE; i++) next[i] = state[i];
    for (cell = 0; cell < @PREFIX@_CELLS; cell++)
        if (fire[cell]) @PREFIX@_update(state, next, cell / @PREFIX@_WIDTH, cell % @PREFIX@_WIDTH);
    for (cell = 0; cell < @PREFIX@_CELLS; cell++) {
        int row = cell / @PREFIX@_WIDTH, column = cell % @PREFIX@_WIDTH;
        alive[cell] = (unsigned char)(@PREFIX@_is_alive(state, row, column) && @PREFIX@_is_alive(next, row, column));
    }
    for (i = 0; i < @PREFIX@_SIZE; i++)
        if (!alive[i / @PREFIX@_CHANNELS]) next[i] = 0.0f;
}

@SEED@
#endif
