//! Matrices on a card, packed for the kernels: numbers in one array and scales in another, so that loads are aligned.

use crate::device::cuda::{Buffer, Card, CudaError};
use crate::engine::backend::linear::{Linear, Parts};
use crate::workload::{Encoding, Quant};
use candle_core::quantized::GgmlDType;
use candle_core::{CpuStorage, DType, Storage, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

/// Levels that kernels of cards read, in words.
const KNOWN: &str = "f16, bf16, Q8_0, Q4_0, Q4_K, Q6_K";

/// An error where no kernel of cards reads weights in `encoding`.
pub(super) fn check_encoding(encoding: Encoding) -> Result<(), String> {
    use Encoding::*;
    match encoding {
        F16 | Bf16 | Q8_0 | Q4_0 | Q4K | Q6K => Ok(()),
        other => Err(format!("there is no CUDA kernel for weights in {other}: {KNOWN}")),
    }
}

/// How the numbers of a matrix are stored, as `kernels/embed.cu` and `kernels/gemv.cu` read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// 16-bit floats.
    Dense,
    Q8_0,
    Q4_0,
    Q4K,
    Q6K,
}

impl Kind {
    /// The part of kernels' names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4K => "q4_k",
            Self::Q6K => "q6_k",
        }
    }

    /// What the weights are stored as, in a model that computes in `compute`.
    pub(crate) fn encoding(self, compute: Compute) -> Encoding {
        match (self, compute) {
            (Self::Dense, Compute::F16) => Encoding::F16,
            (Self::Dense, Compute::Bf16) => Encoding::Bf16,
            (Self::Q8_0, _) => Encoding::Q8_0,
            (Self::Q4_0, _) => Encoding::Q4_0,
            (Self::Q4K, _) => Encoding::Q4K,
            (Self::Q6K, _) => Encoding::Q6K,
        }
    }

    fn of(dtype: GgmlDType) -> Result<Self, String> {
        match dtype {
            GgmlDType::Q8_0 => Ok(Self::Q8_0),
            GgmlDType::Q4_0 => Ok(Self::Q4_0),
            GgmlDType::Q4K => Ok(Self::Q4K),
            GgmlDType::Q6K => Ok(Self::Q6K),
            other => Err(format!("there is no CUDA kernel for weights in {other:?}: {KNOWN}")),
        }
    }

    /// Bytes of a block as GGUF has it, of its numbers, and of its scales as packed here.
    fn block_bytes(self) -> (usize, usize, usize) {
        match self {
            Self::Dense => (2, 2, 0),
            Self::Q8_0 => (34, 32, 2),
            Self::Q4_0 => (18, 16, 2),
            Self::Q4K => (144, 128, 16),
            Self::Q6K => (210, 192, 20),
        }
    }
}

/// The 16-bit format that a model computes in on a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compute {
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
}

impl Compute {
    /// The ending of kernels' names.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// The format of a level: that of its weights, and `f16` where they are integers.
    pub fn of(quant: Quant) -> Self {
        if quant == Quant::Bf16 { Self::Bf16 } else { Self::F16 }
    }

    /// Numbers of this format.
    pub fn values(self, bits: &[u16]) -> Vec<f32> {
        let value = |bits: &u16| match self {
            Self::F16 => f16::from_bits(*bits).to_f32(),
            Self::Bf16 => bf16::from_bits(*bits).to_f32(),
        };
        bits.iter().map(value).collect()
    }

    /// `values` in this format, as bits.
    pub fn bits(self, values: &Tensor) -> candle_core::Result<Vec<u16>> {
        let flat = values.flatten_all()?;
        Ok(match self {
            Self::F16 => flat.to_dtype(DType::F16)?.to_vec1::<f16>()?.into_iter().map(f16::to_bits).collect(),
            Self::Bf16 => flat.to_dtype(DType::BF16)?.to_vec1::<bf16>()?.into_iter().map(bf16::to_bits).collect(),
        })
    }
}

/// A matrix in host memory, ready to be uploaded.
pub(super) struct Packed {
    pub rows: usize,
    pub cols: usize,
    pub kind: Kind,
    quants: Vec<u8>,
    scales: Vec<u8>,
}

impl Packed {
    /// Packs a matrix.
    pub(crate) fn new(linear: &Linear, compute: Compute) -> Result<Self, CudaError> {
        match linear.parts()? {
            Parts::Dense(tensor) => {
                let (rows, cols) = tensor.dims2()?;
                let quants = dense_bytes(tensor, compute)?;
                Ok(Self { rows, cols, kind: Kind::Dense, quants, scales: Vec::new() })
            }
            Parts::Blocks(tensor) => {
                let (rows, cols) = tensor.shape().dims2()?;
                let kind = Kind::of(tensor.dtype()).map_err(CudaError::Unsupported)?;
                let (quants, scales) = unpack(kind, &tensor.data()?);
                Ok(Self { rows, cols, kind, quants, scales })
            }
        }
    }

    /// `parts` below each other, where all are of one kind: one launch instead of several.
    pub(crate) fn stacked(parts: Vec<Self>) -> Vec<Self> {
        let alike = parts.windows(2).all(|pair| pair[0].kind == pair[1].kind && pair[0].cols == pair[1].cols);
        if !alike {
            return parts;
        }
        let mut parts = parts.into_iter();
        let first = parts.next();
        let joined = first.map(|mut first| {
            for part in parts {
                first.rows += part.rows;
                first.quants.extend(part.quants);
                first.scales.extend(part.scales);
            }
            first
        });
        joined.into_iter().collect()
    }

    /// Copies it to `card`.
    pub(crate) fn upload(&self, card: &Card) -> Result<Matrix, CudaError> {
        let scales = if self.scales.is_empty() { None } else { Some(card.with(&self.scales)?) };
        let bytes = self.quants.len() + self.scales.len();
        Ok(Matrix {
            rows: self.rows,
            cols: self.cols,
            kind: self.kind,
            quants: card.with(&self.quants)?,
            scales,
            bytes,
        })
    }
}

/// A matrix of floats as the bytes of its 16-bit form; where it has that form already, copied once.
fn dense_bytes(tensor: &Tensor, compute: Compute) -> candle_core::Result<Vec<u8>> {
    let (storage, layout) = tensor.storage_and_layout();
    Ok(match (&*storage, layout.contiguous_offsets(), compute) {
        (Storage::Cpu(CpuStorage::F16(values)), Some((from, to)), Compute::F16) => {
            bytes_of(&values[from..to], f16::to_bits)
        }
        (Storage::Cpu(CpuStorage::BF16(values)), Some((from, to)), Compute::Bf16) => {
            bytes_of(&values[from..to], bf16::to_bits)
        }
        _ => bytes_of(&compute.bits(tensor)?, |bits| bits),
    })
}

/// Numbers as bytes, by all threads.
fn bytes_of<T: Copy + Sync>(values: &[T], bits: impl Fn(T) -> u16 + Sync) -> Vec<u8> {
    const EACH: usize = 1 << 18;
    let mut bytes = vec![0; values.len() * 2];
    bytes.par_chunks_mut(2 * EACH).zip(values.par_chunks(EACH)).for_each(|(bytes, values)| {
        for (bytes, value) in bytes.chunks_exact_mut(2).zip(values) {
            bytes.copy_from_slice(&bits(*value).to_le_bytes());
        }
    });
    bytes
}

/// The numbers and the scales of GGUF blocks.
fn unpack(kind: Kind, data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (block, of_quants, of_scales) = kind.block_bytes();
    let count = data.len() / block;
    let (mut quants, mut scales) = (Vec::with_capacity(count * of_quants), Vec::with_capacity(count * of_scales));
    for block in data.chunks_exact(block) {
        match kind {
            Kind::Q8_0 | Kind::Q4_0 => {
                scales.extend_from_slice(&block[..2]);
                quants.extend_from_slice(&block[2..]);
            }
            // d, the d of the minima, and their 6-bit factors come first.
            Kind::Q4K => {
                scales.extend_from_slice(&block[..16]);
                quants.extend_from_slice(&block[16..]);
            }
            // Low and high bits, then 16 factors and d; two bytes round the scales up to whole words.
            Kind::Q6K => {
                quants.extend_from_slice(&block[..192]);
                scales.extend_from_slice(&block[192..]);
                scales.extend_from_slice(&[0, 0]);
            }
            Kind::Dense => quants.extend_from_slice(block),
        }
    }
    (quants, scales)
}

/// A matrix on a card.
pub(super) struct Matrix {
    pub rows: usize,
    pub cols: usize,
    pub kind: Kind,
    pub quants: Buffer,
    pub scales: Option<Buffer>,
    pub bytes: usize,
}

impl Matrix {
    /// Where its scales are; zero for floats, which have none.
    pub(crate) fn scales_at(&self) -> u64 {
        self.scales.as_ref().map_or(0, Buffer::at)
    }

    /// Whether its products take activations of 8 bits.
    pub(crate) fn is_quantized(&self) -> bool {
        self.kind != Kind::Dense
    }
}
