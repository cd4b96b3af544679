// The C interface of a generated step. fluxshard/codegen/abi.py mirrors it; change FS_ABI in both.
#pragma once
#include <stdint.h>

#define FS_ABI 1

struct StepArgs {
  void* arena;           // state of one stream, 64-byte aligned, prepared by fs_init
  const float* weights;  // packed weights, 64-byte aligned
  const float* image;    // (C, H, W)
  const int16_t* motion; // (rows, columns, 2) pixels, (dy, dx); NULL: nothing moved
  const uint8_t* motion_valid;
  int32_t cell_px, motion_rows, motion_columns;
  int32_t keyframe;    // recompute everything
  int32_t rfap;        // 0 off, 1 compact, 2 per layer
  int32_t remap;       // 0: the cache stays in the coordinates of the last keyframe
  int32_t input_fresh; // the network reads the whole new frame
  int32_t threads;
  float tau_input;
  double scene_cut;           // share of pixels above which a frame becomes a keyframe
  const float* tau;           // per layer
  const uint8_t* const* work; // per grid: cells to recompute, or NULL; NULL: values decide
  int32_t (*island)(void* user, int32_t island);
  void* user;
  float* const* outputs; // per output of the plan: (C, H, W), or NULL
  // results
  int64_t* counters;   // (layers, 3): candidates, changed, executed
  int64_t input_cells; // |S_0|
  int64_t total_ns, conv_ns, island_ns;
  int32_t keyframe_taken;
  int32_t error;
};

enum { FS_OK = 0, FS_BAD_MOTION = 1, FS_ISLAND_FAILED = 2, FS_NOT_INITIALISED = 3 };
