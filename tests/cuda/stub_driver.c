// A libcuda.so.1 without a GPU: real bindings call it, it writes down what reached it, and fails where it is told to.
//   STUB_FAIL=cuLaunchKernel:719   this function returns this status
//   STUB_ARGS=24                   bytes of a kernel's argument
//   STUB_BLOCKS=3                  blocks of a multiprocessor
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int status(const char* name) {
  const char* fail = getenv("STUB_FAIL");
  const size_t n = strlen(name);
  return fail && !strncmp(fail, name, n) && fail[n] == ':' ? atoi(fail + n + 1) : 0;
}
static int number(const char* name, int otherwise) { return getenv(name) ? atoi(getenv(name)) : otherwise; }
#define SAY(...) (printf(__VA_ARGS__), putchar('\n'), fflush(stdout), status(__func__))

int cuInit(unsigned flags) { return SAY("cuInit %u", flags); }
int cuDriverGetVersion(int* version) { *version = 12080; return 0; }
int cuDeviceGetCount(int* count) { *count = 2; return status(__func__); }
int cuDeviceGet(int* device, int ordinal) { *device = ordinal; return status(__func__); }
int cuDeviceGetName(char* name, int length, int device) { snprintf(name, length, "Stub GPU %d", device); return 0; }
int cuDeviceTotalMem(size_t* bytes, int device) { *bytes = (size_t)device << 33; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) { *value = attribute + 1000 * device; return 0; }
int cuModuleLoadData(void** module, const void* image) {
  *module = (void*)0x51;
  return SAY("load %.3s", (const char*)image + 1);
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
  *function = (void*)0xf0;
  return SAY("function %s of %p", name, module);
}
int cuModuleUnload(void* module) { return SAY("unload %p", module); }
int cuFuncSetAttribute(void* function, int attribute, int value) {
  return SAY("attribute %d of %p: %d", attribute, function, value);
}
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* function, int threads, size_t shared) {
  *blocks = number("STUB_BLOCKS", 3);
  return SAY("occupancy of %p: %d threads, %zu bytes", function, threads, shared);
}
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** params, void** extra) {
  if (getenv("STUB_QUIET")) return 0;
  printf("launch %p: %ux%ux%u of %ux%ux%u, %u bytes, stream %p, extra %d, ", function, gx, gy, gz, bx, by, bz, shared,
         stream, extra != NULL);
  for (int i = 0; i < number("STUB_ARGS", 0); ++i) printf("%02x", ((unsigned char*)params[0])[i]);
  return SAY(" ");
}

struct attribute { int id; char pad[4]; union { char raw[64]; int allowed; } value; };
struct config {
  unsigned gx, gy, gz, bx, by, bz, shared;
  void* stream;
  struct attribute* attributes;
  unsigned n;
};
int cuLaunchKernelEx(const struct config* c, void* function, void** params, void** extra) {
  printf("launch %p: %ux%ux%u of %ux%ux%u, %u bytes, stream %p, extra %d, attribute %d of %u, ", function, c->gx, c->gy, c->gz,
         c->bx, c->by, c->bz, c->shared, c->stream, extra != NULL, c->attributes[0].value.allowed ? c->attributes[0].id : -1, c->n);
  for (int i = 0; i < number("STUB_ARGS", 0); ++i) printf("%02x", ((unsigned char*)params[0])[i]);
  return SAY(" ");
}

// how bindings find all of the above
int cuGetProcAddress_v2(const char* name, void** function, int version, uint64_t flags, int* found) {
  *function = dlsym(RTLD_DEFAULT, name);
  if (!*function) {
    void* self = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_LAZY);
    *function = self ? dlsym(self, name) : NULL;
  }
  if (found) *found = *function ? 0 : 1;
  return *function ? 0 : 500;
}
int cuGetProcAddress(const char* name, void** function, int version, uint64_t flags) {
  return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
