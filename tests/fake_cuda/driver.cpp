// A libcuda.so.1 that runs the kernels of kernels/ on the CPU, so that everything above the driver can be tested where
// there is no GPU. Functions, names and numbers are those of cuda.h (CUDA 12 and 13 agree on all of them).
//
// FAKE_CUDA_MEMORY    bytes of the card (256 MiB): more than that is out of memory
// FAKE_CUDA_NOMINAL   bytes that the card says it has, whatever it really holds (FAKE_CUDA_MEMORY)
// FAKE_CUDA_CARDS     how many cards there are (1)
// FAKE_CUDA_SM        compute capability, such as 90 (89)
// FAKE_CUDA_NAME      what every card is called ("Fake GPU " and its number)
// FAKE_CUDA_VERSION   the CUDA version of the driver, such as 12040 (13000)
// FAKE_CUDA_PTX       newest PTX version that it takes, such as 80 (99)
// FAKE_CUDA_CODE      whether it takes machine code (1)
// FAKE_CUDA_LOG       a file that gets a line for each start and each module: whether results of compiling are kept, and
//                     what was loaded
// FAKE_CUDA_POOLS     0: there are no pools of memory; refuse: they are there, and refuse (1)
// FAKE_CUDA_FAIL      launch:N:CODE, such as launch:40:716: the Nth kernel that runs loses the card with that error
#include "common.cuh"
#include <chrono>
#include <memory>
#include <mutex>
#include <set>

#define API extern "C" __attribute__((visibility("default")))
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, NO_BINARY = 209,
       INVALID_PTX = 218, UNSUPPORTED_PTX = 222, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, NOT_SUPPORTED = 801,
       CAPTURE_INVALIDATED = 901 };
typedef unsigned long long Address;

static long setting(const char *name, long usual) {
    const char *text = std::getenv(name);
    return text ? std::atol(text) : usual;
}
static std::recursive_mutex lock;
static std::map<Address, size_t> memory;
static std::set<Address> pooled;
static size_t used = 0, most_used = 0;
static size_t total() { return setting("FAKE_CUDA_MEMORY", 256l << 20); }

static bool refuses_pools() {
    const char *text = std::getenv("FAKE_CUDA_POOLS");
    return text && !std::strcmp(text, "refuse");
}

// An error that every later call returns too. As on a card, the launch itself says nothing of it.
static int lost = 0;
static bool survives_launch() {
    static long launches = 0;
    long from = 0;
    int code = 0;
    const char *text = std::getenv("FAKE_CUDA_FAIL");
    if (text && std::sscanf(text, "launch:%ld:%d", &from, &code) == 2 && ++launches >= from) lost = code;
    return !lost;
}
#define UNLESS_LOST if (lost) return lost

// A stream that is being captured keeps its work for later.
typedef std::vector<std::function<void()>> Graph;
static Graph *capture = nullptr;
static void perform(const std::function<void()> &work) {
    if (capture) capture->push_back(work);
    else work();
}

// Whether the bytes lie in one allocation: a wild copy is an error here, not a crash.
static bool inside(Address at, size_t bytes) {
    auto next = memory.upper_bound(at);
    if (next == memory.begin()) return false;
    auto own = std::prev(next);
    return at + bytes <= own->first + own->second;
}

struct Module { std::set<std::string> entries; };
struct Function { const fake::Entry *entry; int shared = 48 << 10; };

static void note(const std::string &line) {
    const char *path = std::getenv("FAKE_CUDA_LOG");
    std::FILE *file = path ? std::fopen(path, "a") : nullptr;
    if (!file) return;
    std::fprintf(file, "%s\n", line.c_str());
    std::fclose(file);
}

API int cuInit(unsigned) {
    note(setting("CUDA_CACHE_DISABLE", 0) ? "start without a cache" : "start with a cache");
    return setting("FAKE_CUDA_CARDS", 1) > 0 ? OK : NO_DEVICE;
}
API int cuDriverGetVersion(int *version) { *version = setting("FAKE_CUDA_VERSION", 13000); return OK; }
API int cuDeviceGetCount(int *count) { *count = setting("FAKE_CUDA_CARDS", 1); return OK; }
API int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal < setting("FAKE_CUDA_CARDS", 1) ? OK : INVALID_DEVICE; }
API int cuDeviceGetName(char *name, int size, int device) {
    const char *own = std::getenv("FAKE_CUDA_NAME");
    own ? std::snprintf(name, size, "%s", own) : std::snprintf(name, size, "Fake GPU %d", device);
    return OK;
}
API int cuDeviceTotalMem_v2(size_t *bytes, int) { *bytes = setting("FAKE_CUDA_NOMINAL", total()); return OK; }
API int cuDeviceGetAttribute(int *value, int attribute, int device) {
    long sm = setting("FAKE_CUDA_SM", 89);
    switch (attribute) {
    case 1: *value = 1024; break;       // threads per block
    case 8: *value = 48 << 10; break;   // shared memory per block
    case 13: *value = 1000000; break;   // kHz
    case 16: *value = 2; break;         // multiprocessors
    case 33: *value = 1 + device; break; // PCI bus
    case 38: *value = 64 << 10; break;  // L2
    case 75: *value = sm / 10; break;
    case 76: *value = sm % 10; break;
    case 97: *value = 227 << 10; break; // shared memory per block, on request
    case 115: *value = refuses_pools() || setting("FAKE_CUDA_POOLS", 1); break;
    default: *value = 0;
    }
    return OK;
}
API int cuDevicePrimaryCtxRetain(void **context, int) { *context = reinterpret_cast<void *>(0x10); return OK; }
API int cuDevicePrimaryCtxRelease_v2(int) { return OK; }
static thread_local void *current = nullptr;
API int cuCtxSetCurrent(void *context) { current = context; return OK; }
API int cuCtxGetCurrent(void **context) { *context = current; return OK; }
API int cuCtxSynchronize() { UNLESS_LOST; return OK; }

API int cuMemGetInfo_v2(size_t *free, size_t *all) { std::lock_guard guard(lock); UNLESS_LOST; *all = total(); *free = total() - used; return OK; }
API int cuMemAlloc_v2(Address *at, size_t bytes) {
    std::lock_guard guard(lock);
    UNLESS_LOST;
    if (used + bytes > total()) return OUT_OF_MEMORY;
    // Room behind each, so that two never touch; content that is no number.
    void *block = std::aligned_alloc(256, (bytes + 511) / 256 * 256);
    std::memset(block, 0xff, bytes);
    *at = reinterpret_cast<Address>(block);
    memory[*at] = bytes;
    used += bytes;
    most_used = std::max(most_used, used);
    return OK;
}
API int cuMemFree_v2(Address at) {
    std::lock_guard guard(lock);
    UNLESS_LOST;
    auto own = memory.find(at);
    if (own == memory.end()) return INVALID_VALUE;
    used -= own->second;
    memory.erase(own);
    std::free(reinterpret_cast<void *>(at));
    return OK;
}
API int cuMemAllocAsync(Address *at, size_t bytes, void *) {
    std::lock_guard guard(lock);
    if (refuses_pools() || !setting("FAKE_CUDA_POOLS", 1)) return NOT_SUPPORTED;
    int result = cuMemAlloc_v2(at, bytes);
    if (result == OK) pooled.insert(*at);
    return result;
}
// Only what is from the pool goes back there.
API int cuMemFreeAsync(Address at, void *) {
    std::lock_guard guard(lock);
    return pooled.erase(at) ? cuMemFree_v2(at) : INVALID_VALUE;
}
API int cuMemPoolGetAttribute(void *, int, void *value) { *static_cast<unsigned long long *>(value) = most_used; return OK; }
API int cuMemPoolSetAttribute(void *, int, void *) { most_used = used; return OK; }
API int cuDeviceGetDefaultMemPool(void **pool, int) { *pool = reinterpret_cast<void *>(0x20); return OK; }
API int cuMemPoolTrimTo(void *, size_t) { UNLESS_LOST; return OK; }
API int cuMemHostAlloc(void **at, size_t bytes, unsigned) { UNLESS_LOST; *at = std::aligned_alloc(256, (bytes + 255) / 256 * 256); return OK; }
API int cuMemFreeHost(void *at) { std::free(at); return OK; }
API int cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *) {
    std::lock_guard guard(lock);
    UNLESS_LOST;
    if (!inside(to, bytes)) return ILLEGAL_ADDRESS;
    perform([=] { std::memcpy(reinterpret_cast<void *>(to), from, bytes); });
    return OK;
}
API int cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *) {
    std::lock_guard guard(lock);
    UNLESS_LOST;
    if (!inside(from, bytes)) return ILLEGAL_ADDRESS;
    perform([=] { std::memcpy(to, reinterpret_cast<void *>(from), bytes); });
    return OK;
}
API int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *) {
    std::lock_guard guard(lock);
    UNLESS_LOST;
    if (!inside(from, bytes) || !inside(to, bytes)) return ILLEGAL_ADDRESS;
    perform([=] { std::memmove(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes); });
    return OK;
}
API int cuMemsetD8Async(Address at, unsigned char value, size_t bytes, void *) {
    std::lock_guard guard(lock);
    UNLESS_LOST;
    if (!inside(at, bytes)) return ILLEGAL_ADDRESS;
    perform([=] { std::memset(reinterpret_cast<void *>(at), value, bytes); });
    return OK;
}

API int cuStreamCreate(void **stream, unsigned) { UNLESS_LOST; *stream = new int(0); return OK; }
API int cuStreamDestroy_v2(void *stream) { delete static_cast<int *>(stream); return OK; }
API int cuStreamSynchronize(void *) { UNLESS_LOST; return capture ? CAPTURE_INVALIDATED : OK; }
API int cuStreamWaitEvent(void *, void *, unsigned) { return OK; }
API int cuStreamIsCapturing(void *, int *status) { *status = capture != nullptr; return OK; }
API int cuStreamBeginCapture_v2(void *, int) { UNLESS_LOST; capture = new Graph; return OK; }
API int cuStreamEndCapture(void *, void **graph) { *graph = capture; capture = nullptr; return OK; }
API int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long) { *exec = new Graph(*static_cast<Graph *>(graph)); return OK; }
API int cuGraphUpload(void *, void *) { return OK; }
API int cuGraphLaunch(void *exec, void *) {
    std::lock_guard guard(lock);
    UNLESS_LOST;
    for (auto &work : *static_cast<Graph *>(exec)) work();
    return OK;
}
API int cuGraphExecDestroy(void *exec) { delete static_cast<Graph *>(exec); return OK; }
API int cuGraphDestroy(void *graph) { delete static_cast<Graph *>(graph); return OK; }

typedef std::chrono::steady_clock Clock;
API int cuEventCreate(void **event, unsigned) { *event = new Clock::time_point; return OK; }
API int cuEventDestroy_v2(void *event) { delete static_cast<Clock::time_point *>(event); return OK; }
API int cuEventRecord(void *event, void *) { UNLESS_LOST; *static_cast<Clock::time_point *>(event) = Clock::now(); return OK; }
API int cuEventSynchronize(void *) { UNLESS_LOST; return OK; }
API int cuEventQuery(void *) { UNLESS_LOST; return OK; }
API int cuEventElapsedTime(float *ms, void *begin, void *end) {
    std::chrono::duration<float, std::milli> time = *static_cast<Clock::time_point *>(end) - *static_cast<Clock::time_point *>(begin);
    *ms = std::max(time.count(), 1e-6f);
    return OK;
}

// Machine code is ELF: the card that it is for stands in the flags (one byte further on from ABI 8 on), and each kernel
// has a section of its own.
static int load_code(Module &module, const unsigned char *image) {
    auto number = [&](size_t at, int bytes) {
        unsigned long long value = 0;
        std::memcpy(&value, image + at, bytes);
        return value;
    };
    const long sm = setting("FAKE_CUDA_SM", 89), card = (number(48, 4) >> (image[8] >= 8 ? 8 : 0)) & 0xff;
    if (!setting("FAKE_CUDA_CODE", 1) || card / 10 != sm / 10 || card > sm) return NO_BINARY;
    const size_t sections = number(0x28, 8), each = number(0x3A, 2), count = number(0x3C, 2), names = number(0x3E, 2);
    const size_t strings = number(sections + names * each + 0x18, 8);
    for (size_t i = 0; i < count; i++) {
        const std::string name = reinterpret_cast<const char *>(image + strings + number(sections + i * each, 4));
        if (name.rfind(".text.", 0) == 0) module.entries.insert(name.substr(6));
    }
    note("machine code for sm_" + std::to_string(card));
    return OK;
}
static int load_ptx(Module &module, const char *text) {
    const char *version = std::strstr(text, ".version ");
    if (!version) return INVALID_PTX;
    int major = 0, minor = 0;
    std::sscanf(version, ".version %d.%d", &major, &minor);
    if (major * 10 + minor > setting("FAKE_CUDA_PTX", 99)) return UNSUPPORTED_PTX;
    // What the PTX defines is what the card has: a name that is only in the sources is not found.
    for (const char *at = text; (at = std::strstr(at, ".entry ")); at += 7) {
        const char *name = at + 7;
        module.entries.insert(std::string(name, std::strcspn(name, "( \t\r\n")));
    }
    note("PTX");
    return OK;
}
API int cuModuleLoadData(void **module, const void *image) {
    UNLESS_LOST;
    auto own = std::make_unique<Module>();
    const bool code = std::memcmp(image, "\177ELF", 4) == 0;
    const int error = code ? load_code(*own, static_cast<const unsigned char *>(image))
                           : load_ptx(*own, static_cast<const char *>(image));
    if (error == OK) *module = own.release();
    return error;
}
API int cuModuleUnload(void *module) { delete static_cast<Module *>(module); return OK; }
// How many kernels were loaded: a test looks when that was.
static int functions_loaded = 0;
API int fakeFunctionsLoaded() { return functions_loaded; }
API int cuModuleGetFunction(void **function, void *module, const char *name) {
    auto entry = fake::kernels().find(name);
    if (!static_cast<Module *>(module)->entries.count(name) || entry == fake::kernels().end()) return NOT_FOUND;
    *function = new Function{&entry->second};
    functions_loaded++;
    return OK;
}
API int cuFuncSetAttribute(void *function, int attribute, int value) {
    if (attribute == 8) static_cast<Function *>(function)->shared = value;
    return value <= 227 << 10 ? OK : INVALID_VALUE;
}
API int cuFuncGetAttribute(int *value, int, void *) { *value = 0; return OK; }
API int cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, void *, int, size_t, unsigned) { *blocks = 1; return OK; }
API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *, int, size_t) { *blocks = 1; return OK; }
API int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *, void **args, void **) {
    std::lock_guard guard(lock);
    UNLESS_LOST;
    auto *own = static_cast<Function *>(function);
    if (bx * by * bz > 1024 || static_cast<int>(shared) > own->shared || gy > 65535 || gz > 65535) return INVALID_VALUE;
    // The arguments are the caller's to change once the launch has returned.
    std::vector<std::vector<unsigned char>> values;
    for (size_t i = 0; i < own->entry->sizes.size(); i++) {
        auto *from = static_cast<unsigned char *>(args[i]);
        values.emplace_back(from, from + own->entry->sizes[i]);
    }
    const fake::Entry *entry = own->entry;
    perform([=] {
        if (!survives_launch()) return;
        auto copy = values;
        std::vector<void *> pointers;
        for (auto &value : copy) pointers.push_back(value.data());
        entry->launch(dim3(gx, gy, gz), dim3(bx, by, bz), shared, pointers.data());
    });
    return OK;
}
API int cuGetErrorName(int, const char **name) { *name = "error"; return OK; }
API int cuGetErrorString(int, const char **text) { *text = "error of the fake driver"; return OK; }
