//! The kinds of devices that other tools measure on, beside `cpu`, `mixed` and CUDA's.

/// Accelerators that are not driven through CUDA: what is known of CUDA's kernels is not known of theirs.
pub const OTHER_ACCELERATORS: [&str; 15] =
    [ROCM, METAL, VULKAN, SYCL, CANN, MUSA, OPENCL, XPU, HPU, TPU, NEURON, "webgpu", "openvino", "hexagon", "remote"];

/// AMD's.
pub const ROCM: &str = "rocm";
/// Apple's.
pub const METAL: &str = "metal";
/// Any maker's, through Vulkan.
pub const VULKAN: &str = "vulkan";
/// Intel's (and others), through SYCL.
pub const SYCL: &str = "sycl";
/// Huawei's Ascend.
pub const CANN: &str = "cann";
/// Moore Threads'.
pub const MUSA: &str = "musa";
/// Any maker's, through OpenCL.
pub const OPENCL: &str = "opencl";
/// Intel's, by PyTorch's name for them.
pub const XPU: &str = "xpu";
/// Intel's Gaudi.
pub const HPU: &str = "hpu";
/// Google's.
pub const TPU: &str = "tpu";
/// Amazon's Inferentia and Trainium.
pub const NEURON: &str = "neuron";

/// Whether a device is an accelerator that is not driven through CUDA.
pub fn is_other_accelerator(device: &str) -> bool {
    OTHER_ACCELERATORS.contains(&device)
}
