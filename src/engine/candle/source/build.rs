//! Making a weight matrix in any encoding, in parallel, from whatever can fill rows of `f32`.

use super::super::linear::Linear;
use crate::workload::Encoding;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Result, Tensor};
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

/// A matrix of `rows x cols` in `encoding`. `fill(rows, values)` writes the `f32` values of a range of rows; it is
/// called from several threads.
pub fn matrix<E: Send>(
    rows: usize,
    cols: usize,
    encoding: Encoding,
    fill: impl Fn(Range<usize>, &mut [f32]) -> std::result::Result<(), E> + Sync,
) -> std::result::Result<Result<Linear>, E> {
    let rows_per_chunk = (CHUNK_WEIGHTS / cols.max(1)).clamp(1, rows.max(1));
    Ok(match encoding {
        Encoding::F32 => dense(rows, cols, rows_per_chunk, &fill, |values, out| out.copy_from_slice(values))?,
        Encoding::F16 => dense(rows, cols, rows_per_chunk, &fill, |values, out: &mut [f16]| {
            use half::slice::HalfFloatSliceExt;
            out.convert_from_f32_slice(values)
        })?,
        Encoding::Bf16 => dense(rows, cols, rows_per_chunk, &fill, |values, out: &mut [bf16]| {
            use half::slice::HalfFloatSliceExt;
            out.convert_from_f32_slice(values)
        })?,
        _ => {
            let dtype = ggml_dtype(encoding);
            let row_bytes = cols / dtype.block_size() * dtype.type_size();
            let mut bytes = vec![0u8; rows * row_bytes];
            bytes.par_chunks_mut(rows_per_chunk * row_bytes).enumerate().try_for_each(|(index, out)| {
                let first = index * rows_per_chunk;
                let count = out.len() / row_bytes;
                let mut values = vec![0f32; count * cols];
                fill(first..first + count, &mut values)?;
                let mut blocks = dtype.cpu_zeros(values.len());
                blocks.from_float(&values);
                // SAFETY: the storage is a vector of blocks of exactly this many bytes.
                out.copy_from_slice(unsafe {
                    std::slice::from_raw_parts(blocks.as_ptr(), blocks.storage_size_in_bytes())
                });
                Ok(())
            })?;
            blocks(&bytes, rows, cols, encoding)
        }
    })
}

/// A matrix of blocks that are encoded already; `bytes` must be exactly as long as the shape says.
pub fn blocks(bytes: &[u8], rows: usize, cols: usize, encoding: Encoding) -> Result<Linear> {
    // Candle reads the bytes as blocks in place; every block type is aligned to 4 bytes at most.
    let aligned;
    let bytes = if bytes.as_ptr().align_offset(align_of::<f32>()) == 0 {
        bytes
    } else {
        aligned = bytes.to_vec();
        &aligned
    };
    let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, ggml_dtype(encoding))?;
    Ok(Linear::blocks(QTensor::new(storage, (rows, cols))?))
}

fn dense<T: candle_core::WithDType + Send + Sync, E: Send>(
    rows: usize,
    cols: usize,
    rows_per_chunk: usize,
    fill: &(impl Fn(Range<usize>, &mut [f32]) -> std::result::Result<(), E> + Sync),
    convert: impl Fn(&[f32], &mut [T]) + Sync,
) -> std::result::Result<Result<Linear>, E> {
    let mut weights = vec![T::zero(); rows * cols];
    weights.par_chunks_mut(rows_per_chunk * cols).enumerate().try_for_each(|(index, out)| {
        let first = index * rows_per_chunk;
        let mut values = vec![0f32; out.len()];
        fill(first..first + out.len() / cols, &mut values)?;
        convert(&values, out);
        Ok(())
    })?;
    Ok(Tensor::from_vec(weights, (rows, cols), &Device::Cpu).map(Linear::dense))
}
