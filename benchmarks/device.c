/* The programs that benchmarks/device.py compares our figures with.
 *
 * stream N THREADS ROUNDS   the kernels of STREAM (J. D. McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance
 *                           Computers", 1995, https://www.cs.virginia.edu/stream/ref.html), written from their definition: copy c=a,
 *                           add c=a+b, triad a=b+s*c on arrays of N doubles; bytes counted 16, 24 and 24; the first round is not counted.
 *                           gcc makes a memcpy of copy, as it does of STREAM's own.
 * chase LINES               a walk along a random ring with one pointer in each line of 64 bytes.
 *
 * Both print one value of each round: GB/s (10^9 bytes) or nanoseconds for one step.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* numpy asks for large pages in the same way. */
static double *array(long n) {
    void *memory = NULL;
    if (posix_memalign(&memory, 1 << 21, (size_t)n * sizeof(double)) != 0) exit(2);
#ifdef MADV_HUGEPAGE
    madvise(memory, (size_t)n * sizeof(double), MADV_HUGEPAGE);
#endif
    return memory;
}

void copy(double *restrict c, const double *restrict a, long n) { for (long i = 0; i < n; i++) c[i] = a[i]; }
void add(double *restrict c, const double *restrict a, const double *restrict b, long n) { for (long i = 0; i < n; i++) c[i] = a[i] + b[i]; }
void triad(double *restrict a, const double *restrict b, const double *restrict c, double s, long n) { for (long i = 0; i < n; i++) a[i] = b[i] + s * c[i]; }

static int stream(long n, int threads, int rounds) {
    double *a = array(n), *b = array(n), *c = array(n);
    const double s = 0.5;
    const long each = n / threads;
    n = each * threads;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int part = 0; part < threads; part++)
        for (long i = part * each; i < (part + 1) * each; i++) { a[i] = 1.0; b[i] = 2.0; c[i] = 0.0; }
    for (int round = 0; round <= rounds; round++) {
        double t0 = now();
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int part = 0; part < threads; part++) copy(c + part * each, a + part * each, each);
        double t1 = now();
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int part = 0; part < threads; part++) add(c + part * each, a + part * each, b + part * each, each);
        double t2 = now();
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int part = 0; part < threads; part++) triad(a + part * each, b + part * each, c + part * each, s, each);
        double t3 = now();
        if (round > 0)
            printf("copy %.4f\nadd %.4f\ntriad %.4f\n", 16e-9 * n / (t1 - t0), 24e-9 * n / (t2 - t1), 24e-9 * n / (t3 - t2));
    }
    return a[n / 2] == 0.0; /* so that no loop can be left out */
}

static int chase(long lines) {
    char *memory = aligned_alloc(64, (size_t)lines * 64);
    long *order = malloc((size_t)lines * sizeof(long));
    if (memory == NULL || order == NULL) return 2;
    for (long i = 0; i < lines; i++) order[i] = i;
    srand48(1);
    for (long i = lines - 1; i > 0; i--) {
        long j = lrand48() % (i + 1), held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
    for (long i = 0; i < lines; i++) *(void **)(memory + 64 * order[i]) = memory + 64 * order[(i + 1) % lines];
    free(order);
    void *p = memory;
    long steps = lines / 16;
    for (int walk = 0; walk < 48; walk++) {
        double begin = now();
        for (long i = 0; i < steps; i++) p = *(void **)p;
        printf("chase %.4f\n", (now() - begin) * 1e9 / steps);
    }
    return p == NULL;
}

int main(int count, char **words) {
    if (count == 5 && strcmp(words[1], "stream") == 0) return stream(atol(words[2]), atoi(words[3]), atoi(words[4]));
    if (count == 3 && strcmp(words[1], "chase") == 0) return chase(atol(words[2]));
    return 1;
}
