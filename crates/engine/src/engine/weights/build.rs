//! Making a weight matrix in any encoding, in parallel, from whatever can fill rows of `f32`.

use crate::engine::backend::cpu::packed::{Format, Packed};
use crate::engine::backend::linear::{Layout, Linear};
use crate::workload::Encoding;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Result, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;

/// Weights that one task encodes at a time.
const CHUNK_WEIGHTS: usize = 1 << 18;

/// Candle's name of an encoding.
pub fn ggml_dtype(encoding: Encoding) -> GgmlDType {
    match encoding {
        Encoding::F32 => GgmlDType::F32,
        Encoding::Bf16 => GgmlDType::BF16,
        Encoding::F16 => GgmlDType::F16,
        Encoding::Q8_0 => GgmlDType::Q8_0,
        Encoding::Q6K => GgmlDType::Q6K,
        Encoding::Q5K => GgmlDType::Q5K,
        Encoding::Q5_1 => GgmlDType::Q5_1,
        Encoding::Q5_0 => GgmlDType::Q5_0,
        Encoding::Q4K => GgmlDType::Q4K,
        Encoding::Q4_1 => GgmlDType::Q4_1,
        Encoding::Q4_0 => GgmlDType::Q4_0,
        Encoding::Q3K => GgmlDType::Q3K,
        Encoding::Q2K => GgmlDType::Q2K,
    }
}

/// What a matrix is to be stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Of each weight.
    pub encoding: Encoding,
    /// Of the whole.
    pub layout: Layout,
}

impl Target {
    fn row_bytes(&self) -> usize {
        self.encoding.matrix_bytes(1, self.cols).0 as usize
    }
}

/// A matrix of weights that are made from `f32`. `fill(rows, values)` writes the values of a range of rows; it is called
/// from several threads.
pub fn matrix<E: Send>(
    target: Target,
    fill: impl Fn(Range<usize>, &mut [f32]) -> std::result::Result<(), E> + Sync,
) -> std::result::Result<Result<Linear>, E> {
    let dtype = ggml_dtype(target.encoding);
    encoded(target, |range, bytes| {
        let mut values = vec![0f32; range.len() * target.cols];
        fill(range, &mut values)?;
        encode(dtype, &values, bytes);
        Ok(())
    })
}

fn encode(dtype: GgmlDType, values: &[f32], bytes: &mut [u8]) {
    use half::slice::HalfFloatSliceExt;
    let halves = |bytes: &mut [u8], halves: &[u16]| {
        bytes.as_chunks_mut::<2>().0.iter_mut().zip(halves).for_each(|(to, half)| *to = half.to_le_bytes())
    };
    match dtype {
        GgmlDType::F32 => {
            bytes.as_chunks_mut::<4>().0.iter_mut().zip(values).for_each(|(to, value)| *to = value.to_le_bytes())
        }
        GgmlDType::F16 => {
            let mut narrow = vec![f16::ZERO; values.len()];
            narrow.convert_from_f32_slice(values);
            halves(bytes, narrow.reinterpret_cast())
        }
        GgmlDType::BF16 => {
            let mut narrow = vec![bf16::ZERO; values.len()];
            narrow.convert_from_f32_slice(values);
            halves(bytes, narrow.reinterpret_cast())
        }
        _ => {
            let mut blocks = dtype.cpu_zeros(values.len());
            blocks.from_float(values);
            // SAFETY: the storage is a vector of blocks of exactly this many bytes.
            bytes.copy_from_slice(unsafe {
                std::slice::from_raw_parts(blocks.as_ptr(), blocks.storage_size_in_bytes())
            });
        }
    }
}

/// A matrix of weights that are encoded already. `fill(rows, bytes)` writes the bytes of a range of rows, as the encoding
/// has them; it is called from several threads. No more than a few rows of a matrix in panels are in memory twice.
pub fn encoded<E: Send>(
    target: Target,
    fill: impl Fn(Range<usize>, &mut [u8]) -> std::result::Result<(), E> + Sync,
) -> std::result::Result<Result<Linear>, E> {
    let Target { rows, cols, encoding, layout } = target;
    if let (Layout::Panels, Some(format)) = (layout, Format::of(encoding, cols)) {
        return Ok(Ok(Linear::packed(Packed::build(format, (rows, cols), fill)?)));
    }
    let row_bytes = target.row_bytes();
    let rows_per_chunk = (CHUNK_WEIGHTS / cols.max(1)).clamp(1, rows.max(1));
    let mut bytes = vec![0u8; rows * row_bytes];
    bytes.par_chunks_mut(rows_per_chunk * row_bytes).enumerate().try_for_each(|(index, out)| {
        let first = index * rows_per_chunk;
        fill(first..first + out.len() / row_bytes, out)
    })?;
    Ok(in_rows(bytes, (rows, cols), encoding))
}

fn in_rows(bytes: Vec<u8>, shape: (usize, usize), encoding: Encoding) -> Result<Linear> {
    let dtype = match encoding {
        Encoding::F32 => DType::F32,
        Encoding::F16 => DType::F16,
        Encoding::Bf16 => DType::BF16,
        _ => {
            // Candle reads the bytes as blocks in place; every block type is aligned to 4 bytes at most.
            let storage = QStorage::from_data(Cow::Owned(bytes), &Device::Cpu, ggml_dtype(encoding))?;
            return Ok(Linear::blocks(QTensor::new(storage, shape)?));
        }
    };
    Tensor::from_raw_buffer(&bytes, dtype, &[shape.0, shape.1], &Device::Cpu).map(Linear::dense)
}
