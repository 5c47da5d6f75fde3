//! What a measurement ran on: the kind of device by the name of a card or of a backend.

use crate::record::device::{CANN, HPU, METAL, MUSA, NEURON, OPENCL, ROCM, SYCL, TPU, VULKAN, XPU};

/// Words in the names of cards that are not driven through CUDA, in lower case, and what drives them.
const CARDS: [(&str, &str); 24] = [
    ("radeon", ROCM),
    ("instinct", ROCM),
    ("amd ", ROCM),
    ("mi100", ROCM),
    ("mi210", ROCM),
    ("mi250", ROCM),
    ("mi300", ROCM),
    ("mi308", ROCM),
    ("mi325", ROCM),
    ("mi350", ROCM),
    ("mi355", ROCM),
    ("gfx9", ROCM),
    ("gfx1", ROCM),
    ("apple", METAL),
    ("gaudi", HPU),
    ("hl-225", HPU),
    ("hl-325", HPU),
    ("ascend", CANN),
    ("tpu", TPU),
    ("inferentia", NEURON),
    ("trainium", NEURON),
    ("intel", XPU),
    ("arc(tm)", XPU),
    ("mtt s", MUSA),
];

/// What drives a card, by its name: CUDA where nothing else is known.
pub(crate) fn of_card(name: &str) -> &'static str {
    let lower = name.to_lowercase();
    let nvidia = ["nvidia", "geforce", "tesla", "quadro"].iter().any(|word| lower.contains(word));
    let found = CARDS.iter().find(|(word, _)| lower.contains(word) && !nvidia);
    found.map_or("cuda", |(_, device)| device)
}

/// What a backend of llama.cpp runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// A kind of accelerator.
    Accelerator(&'static str),
    /// The CPU, with whichever library.
    Cpu,
    /// Devices of other machines.
    Remote,
    /// A name that is not known here.
    Unknown,
}

/// By the name that llama.cpp gives a backend, or the prefix of its devices: `CUDA`, `CUDA0`, `MTL`, `HIP`, `Vulkan1`.
pub(crate) fn of_backend(name: &str) -> Backend {
    let lower = name.trim().to_lowercase();
    let letters = lower.trim_end_matches(|c: char| c.is_ascii_digit());
    match letters {
        "cuda" | "cublas" => Backend::Accelerator("cuda"),
        "rocm" | "hip" | "hipblas" => Backend::Accelerator(ROCM),
        "metal" | "mtl" => Backend::Accelerator(METAL),
        "vulkan" | "kompute" | "virtgpu" => Backend::Accelerator(VULKAN),
        "sycl" => Backend::Accelerator(SYCL),
        "cann" => Backend::Accelerator(CANN),
        "musa" => Backend::Accelerator(MUSA),
        "opencl" | "gpuopencl" | "clblast" => Backend::Accelerator(OPENCL),
        "webgpu" => Backend::Accelerator("webgpu"),
        "openvino" => Backend::Accelerator("openvino"),
        "hexagon" | "htp" => Backend::Accelerator("hexagon"),
        "cpu" | "blas" | "accelerate" | "openblas" | "amx" | "zdnn" | "zendnn" | "kleidiai" => Backend::Cpu,
        _ if letters.starts_with("rpc") => Backend::Remote,
        _ => Backend::Unknown,
    }
}

/// PyTorch's word for a device, with the card's name where it is known: AMD's answer to `cuda` too.
pub(crate) fn of_torch(device: &str, card: Option<&str>) -> Option<&'static str> {
    match device.split(':').next().unwrap_or("") {
        "cpu" => Some("cpu"),
        "cuda" | "gpu" => Some(card.map_or("cuda", of_card)),
        "rocm" | "hip" => Some(ROCM),
        "mps" => Some(METAL),
        "xpu" => Some(XPU),
        "hpu" => Some(HPU),
        "npu" => Some(CANN),
        "musa" => Some(MUSA),
        "xla" | "tpu" => Some(TPU),
        "neuron" => Some(NEURON),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_and_backends_of_other_makers_are_not_cuda() {
        for (card, device) in [
            ("NVIDIA H100 80GB HBM3", "cuda"),
            ("Tesla T4", "cuda"),
            ("h200", "cuda"),
            ("AMD Instinct MI300X", ROCM),
            ("mi355x", ROCM),
            ("AMD Radeon RX 7900 XTX (RADV NAVI31)", ROCM),
            ("Apple M4 Max", METAL),
            ("Intel(R) Arc(TM) A770 Graphics", XPU),
            ("Gaudi3", HPU),
            ("Ascend910B3", CANN),
            ("TPU v5e", TPU),
            ("MTT S4000", MUSA),
        ] {
            assert_eq!(of_card(card), device, "{card}");
        }
        for (name, device) in
            [("MTL", METAL), ("HIP", ROCM), ("Vulkan0", VULKAN), ("SYCL1", SYCL), ("GPUOpenCL", OPENCL)]
        {
            assert_eq!(of_backend(name), Backend::Accelerator(device), "{name}");
        }
        assert_eq!(of_backend("BLAS"), Backend::Cpu);
        assert_eq!(of_backend("RPC"), Backend::Remote);
        assert_eq!(of_backend("Quantum"), Backend::Unknown);
        assert_eq!(of_torch("cuda:0", Some("AMD Instinct MI250X")), Some(ROCM));
    }
}
