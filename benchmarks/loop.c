/* The loop of tictactoe/core/learner.py once more, over the same arrays: what the compiled learner is measured against.
   All types are those of `_Settings`, `Graph` and `MoveGraph` there. Changes `table` and `generator`. */
#include <math.h>
#include <stdint.h>

struct settings {
    double alpha_start, alpha_end, alpha_decay, gamma, epsilon_start, epsilon_end, epsilon_decay;
    int32_t negamax, backward;
};

struct moves {
    const int8_t *outcome;
    const uint32_t *child;
    const uint64_t *first_node, *first_over, *first_edge;
    const uint32_t *entry;
    uint64_t cells;
};

static double scheduled(double start, double end, double decay, int64_t game) {
    return game >= decay ? end : start + (end - start) * (game / decay);
}

static uint64_t rotated(uint64_t word, int by) { return word << by | word >> (64 - by); }

void train(int64_t games, int64_t first_game, const struct settings *settings, double *table, uint64_t *generator,
           const struct moves *moves) {
    const struct settings s = *settings;
    const struct moves m = *moves;
    const double sign = s.negamax ? -1.0 : 1.0;
    const uint64_t ahead = s.negamax ? 1 : 2;
    double value[16], best_at[16];
    uint32_t tied[16], played[16], begin_at[16];
    uint64_t offset[16];
    for (uint64_t ply = 0; ply < m.cells; ply++)
        offset[ply] = m.first_edge[ply] - m.first_node[ply] * (m.cells - ply);
    uint64_t s0 = generator[0], s1 = generator[1], s2 = generator[2], s3 = generator[3];

    for (int64_t game = first_game; game < first_game + games; game++) {
        const double alpha = scheduled(s.alpha_start, s.alpha_end, s.alpha_decay, game);
        const double epsilon = scheduled(s.epsilon_start, s.epsilon_end, s.epsilon_decay, game);
        const uint64_t explore_below = epsilon * 4294967296.0;
        uint64_t node = 0, ply = 0;
        while (node < m.first_over[ply]) {
            const uint64_t degree = m.cells - ply;
            const uint64_t begin = node * degree + offset[ply];
            double best = -INFINITY;
            for (uint64_t i = 0; i < degree; i++) {
                value[i] = table[m.entry[begin + i]];
                best = value[i] > best ? value[i] : best;
            }
            uint64_t ties = 0;
            for (uint64_t i = 0; i < degree; i++) {
                tied[ties] = begin + i;
                ties += value[i] == best;
            }
            begin_at[ply] = begin;
            best_at[ply] = best;
            if (!s.backward && ply >= ahead) {
                double *last = &table[played[ply - ahead]];
                *last += alpha * (sign * s.gamma * best - *last);
            }
            uint64_t edge = tied[0];
            if (ties > 1 || explore_below > 0) {
                const uint64_t bits = rotated(s0 + s3, 23) + s0, shifted = s1 << 17, low = bits & 0xFFFFFFFF;
                s2 ^= s0;
                s3 ^= s1;
                s1 ^= s2;
                s0 ^= s3;
                s2 ^= shifted;
                s3 = rotated(s3, 45);
                edge = bits >> 32 < explore_below ? begin + (low * degree >> 32) : tied[low * ties >> 32];
            }
            played[ply] = m.entry[edge];
            node = m.child[edge];
            ply++;
        }
        const double result = m.outcome[node] != 0;
        if (!s.backward) {
            for (uint64_t at = ply > ahead ? ply - ahead : 0; at < ply; at++) {
                double *entry = &table[played[at]];
                *entry += alpha * ((at + 1 == ply ? result : -result) - *entry);
            }
            continue;
        }
        for (uint64_t at = ply; at-- > 0;) {
            const double target =
                at + ahead < ply ? sign * s.gamma * best_at[at + ahead] : at + 1 == ply ? result : -result;
            const double old = table[played[at]], new = old + alpha * (target - old);
            table[played[at]] = new;
            if (new >= best_at[at]) {
                best_at[at] = new;
            } else if (old == best_at[at]) {
                double best = -INFINITY;
                for (uint64_t edge = begin_at[at]; edge < begin_at[at] + (m.cells - at); edge++) {
                    const double other = table[m.entry[edge]];
                    best = other > best ? other : best;
                }
                best_at[at] = best;
            }
        }
    }
    generator[0] = s0;
    generator[1] = s1;
    generator[2] = s2;
    generator[3] = s3;
}
