/* A neural cellular automaton that grows a picture from one cell, exported by ncatool.
 *
@ABOUT@
 *
 * float state[@PREFIX@_SIZE], next[@PREFIX@_SIZE];
 * unsigned char fire[@PREFIX@_CELLS], scratch[@PREFIX@_CELLS];
 * @PREFIX@_seed(state);
 * for each step: set each cell's fire to 1 with a chance of @PREFIX@_fire_rate, else to 0;
 *                @PREFIX@_step(state, next, fire, scratch); then swap state and next.
 *
 * States are [height][width][channel]: RGB premultiplied by alpha, alpha, hidden channels.
 * C99, and C++; no library is needed.
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
    @PREFIX@_WRAP = @WRAP@ /* 1: what leaves at an edge comes in at the opposite one */
};

static const float @PREFIX@_fire_rate = @FIRE_RATE@;
static const float @PREFIX@_threshold = @THRESHOLD@;

/* kernel [2][3][3]: filter, transposed filter; w1 [hidden][3 channels]: own, filtered, transposed filtered;
 * b1 [hidden]; w2 [channels][hidden]; b2 [channels] */
@ARRAYS@
/* The cell that far away, or -1 where there is none. */
static int @PREFIX@_at(int row, int column)
{
    if (@PREFIX@_WRAP) {
        row = (row + @PREFIX@_HEIGHT) % @PREFIX@_HEIGHT;
        column = (column + @PREFIX@_WIDTH) % @PREFIX@_WIDTH;
    } else if (row < 0 || row >= @PREFIX@_HEIGHT || column < 0 || column >= @PREFIX@_WIDTH) {
        return -1;
    }
    return row * @PREFIX@_WIDTH + column;
}

/* Whether an alpha in the 3x3 neighbourhood is above the threshold. */
static int @PREFIX@_alive(const float *state, int row, int column)
{
    int dy, dx;
    for (dy = -1; dy <= 1; dy++)
        for (dx = -1; dx <= 1; dx++) {
            int cell = @PREFIX@_at(row + dy, column + dx);
            if (cell >= 0 && state[cell * @PREFIX@_CHANNELS + 3] > @PREFIX@_threshold) return 1;
        }
    return 0;
}

/* Adds what the network wants to one cell. */
static void @PREFIX@_update(const float *state, float *next, int row, int column)
{
    float seen[3 * @PREFIX@_CHANNELS];
    int i, j, k, own = @PREFIX@_at(row, column) * @PREFIX@_CHANNELS;
    for (i = 0; i < @PREFIX@_CHANNELS; i++) {
        seen[i] = state[own + i];
        seen[@PREFIX@_CHANNELS + i] = 0.0f;
        seen[2 * @PREFIX@_CHANNELS + i] = 0.0f;
    }
    for (k = 0; k < 9; k++) {
        int cell = @PREFIX@_at(row + k / 3 - 1, column + k % 3 - 1);
        if (cell < 0) continue;
        for (i = 0; i < @PREFIX@_CHANNELS; i++) {
            float value = state[cell * @PREFIX@_CHANNELS + i];
            seen[@PREFIX@_CHANNELS + i] += @PREFIX@_kernel[k] * value;
            seen[2 * @PREFIX@_CHANNELS + i] += @PREFIX@_kernel[9 + k] * value;
        }
    }
    for (i = 0; i < @PREFIX@_CHANNELS; i++) next[own + i] += @PREFIX@_b2[i];
    for (j = 0; j < @PREFIX@_HIDDEN; j++) {
        float sum = @PREFIX@_b1[j];
        for (i = 0; i < 3 * @PREFIX@_CHANNELS; i++) sum += @PREFIX@_w1[j * 3 * @PREFIX@_CHANNELS + i] * seen[i];
        if (sum > 0.0f)
            for (i = 0; i < @PREFIX@_CHANNELS; i++) next[own + i] += @PREFIX@_w2[i * @PREFIX@_HIDDEN + j] * sum;
    }
}

/* One step: perceive, update the cells that fire, keep those alive both before and after. */
static void @PREFIX@_step(const float *state, float *next, const unsigned char *fire, unsigned char *scratch)
{
    int i, cell;
    for (i = 0; i < @PREFIX@_SIZE; i++) next[i] = state[i];
    for (cell = 0; cell < @PREFIX@_CELLS; cell++)
        if (fire[cell]) @PREFIX@_update(state, next, cell / @PREFIX@_WIDTH, cell % @PREFIX@_WIDTH);
    for (cell = 0; cell < @PREFIX@_CELLS; cell++) {
        int row = cell / @PREFIX@_WIDTH, column = cell % @PREFIX@_WIDTH;
        scratch[cell] = (unsigned char)(@PREFIX@_alive(state, row, column) && @PREFIX@_alive(next, row, column));
    }
    for (i = 0; i < @PREFIX@_SIZE; i++)
        if (!scratch[i / @PREFIX@_CHANNELS]) next[i] = 0.0f;
}

/* Empty but for the cell that the picture grows from. */
static void @PREFIX@_seed(float *state)
{
    int i, first = @PREFIX@_at(@ROW@, @COLUMN@) * @PREFIX@_CHANNELS;
    for (i = 0; i < @PREFIX@_SIZE; i++) state[i] = 0.0f;
    for (i = 3; i < @PREFIX@_CHANNELS; i++) state[first + i] = 1.0f;
}

#endif
