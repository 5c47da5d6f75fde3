// A libcublasLt that computes products on the CPU, in columns as the real one does, so that what is asked of it can be
// judged without one. Functions, structures and numbers are those of cublasLt.h.
//
// Built with -DEMPTY it lacks every function, as a library of another kind would.
#include <cmath>
#include <cstdint>
#include <cstring>

#define API extern "C" __attribute__((visibility("default")))
#ifndef EMPTY
enum { SUCCESS = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16F = 2, R_16BF = 14, COMPUTE_32F = 68 };
enum { TRANSA = 3, TRANSB = 4 };

struct Layout { int type; uint64_t rows, columns; int64_t ld; };
struct Desc { int compute, scale, transposed[2]; };
struct Heuristic { uint64_t algo[8]; size_t workspace; int state; float waves; int reserved[4]; };

static float from_bits(uint32_t bits) { float value; std::memcpy(&value, &bits, 4); return value; }
static uint32_t to_bits(float value) { uint32_t bits; std::memcpy(&bits, &value, 4); return bits; }

static float read(int type, const void *at, int64_t index) {
    uint32_t bits = static_cast<const uint16_t *>(at)[index];
    if (type == R_16BF) return from_bits(bits << 16);
    uint32_t sign = bits >> 15 << 31, exponent = bits >> 10 & 31, mantissa = bits & 1023;
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * mantissa / 16777216.0f;
    return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

// To the nearest number of the type, to the even one of two.
static void write(int type, void *at, int64_t index, float value) {
    uint32_t bits = to_bits(value), sign = bits >> 31 << 15;
    uint16_t half = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    if (type == R_16F) {
        float size = value < 0 ? -value : value;
        if (!(size < 65520.0f)) half = sign | (size == size ? 0x7c00 : 0x7e00);
        else if (size < 6.103515625e-05f) half = sign | uint32_t(std::nearbyint(size * 16777216.0f));
        else half = sign | ((((bits & 0x7fffffff) + 0xfff + (bits >> 13 & 1)) >> 13) - (112 << 10));
    }
    static_cast<uint16_t *>(at)[index] = half;
}

API int cublasLtCreate(void **handle) { *handle = new int(0); return SUCCESS; }
API int cublasLtDestroy(void *handle) { delete static_cast<int *>(handle); return SUCCESS; }
API int cublasLtMatrixLayoutCreate(Layout **made, int type, uint64_t rows, uint64_t columns, int64_t ld) {
    *made = new Layout{type, rows, columns, ld};
    return SUCCESS;
}
API int cublasLtMatrixLayoutDestroy(Layout *layout) { delete layout; return SUCCESS; }
API int cublasLtMatrixLayoutSetAttribute(Layout *, int, const void *, size_t) { return NOT_SUPPORTED; }
API int cublasLtMatmulDescCreate(Desc **made, int compute, int scale) { *made = new Desc{compute, scale, {0, 0}}; return SUCCESS; }
API int cublasLtMatmulDescDestroy(Desc *desc) { delete desc; return SUCCESS; }
API int cublasLtMatmulDescSetAttribute(Desc *desc, int attribute, const void *value, size_t bytes) {
    if (attribute != TRANSA && attribute != TRANSB) return SUCCESS;
    if (bytes != 4) return INVALID_VALUE;
    std::memcpy(&desc->transposed[attribute - TRANSA], value, 4);
    return SUCCESS;
}
API int cublasLtMatmulPreferenceCreate(void **made) { *made = new int(0); return SUCCESS; }
API int cublasLtMatmulPreferenceDestroy(void *preference) { delete static_cast<int *>(preference); return SUCCESS; }
API int cublasLtMatmulPreferenceSetAttribute(void *, int, const void *, size_t) { return SUCCESS; }
API int cublasLtMatmulAlgoGetHeuristic(void *, Desc *, Layout *, Layout *, Layout *, Layout *, void *, int, Heuristic *found, int *count) {
    *found = Heuristic{};
    *count = 1;
    return SUCCESS;
}
API int cublasLtMatmul(void *, Desc *desc, const float *alpha, const void *a, Layout *of_a, const void *b, Layout *of_b,
                       const float *beta, const void *c, Layout *of_c, void *d, Layout *of_d, const void *, void *, size_t, void *) {
    bool ta = desc->transposed[0], tb = desc->transposed[1];
    int64_t m = of_d->rows, n = of_d->columns, k = ta ? of_a->rows : of_a->columns;
    bool fits = int64_t(ta ? of_a->columns : of_a->rows) == m && int64_t(tb ? of_b->rows : of_b->columns) == n &&
                int64_t(tb ? of_b->columns : of_b->rows) == k && of_a->ld >= int64_t(of_a->rows) &&
                of_b->ld >= int64_t(of_b->rows) && of_d->ld >= m && of_c->ld >= m;
    if (!fits || desc->compute != COMPUTE_32F || desc->scale != R_32F) return INVALID_VALUE;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += read(of_a->type, a, ta ? l + i * of_a->ld : i + l * of_a->ld) *
                       read(of_b->type, b, tb ? j + l * of_b->ld : l + j * of_b->ld);
            float old = *beta == 0 ? 0 : *beta * read(of_c->type, c, i + j * of_c->ld);
            write(of_d->type, d, i + j * of_d->ld, *alpha * sum + old);
        }
    return SUCCESS;
}
#endif
