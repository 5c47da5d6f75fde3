//! Block-quantized weights as `f32`.
//!
//! Layouts (ggml `block_q8_0`, `block_q4_0`): an `f16` scale, then 32 signed bytes, or 16 bytes whose low nibbles are the
//! first 16 weights and whose high nibbles are the last 16, each less 8.

use super::dispatch::dispatched;
use candle_core::quantized::GgmlDType;
use half::f16;

/// Weights of a block.
const BLOCK: usize = 32;

/// Writes the weights of whole blocks of `Q8_0` or `Q4_0` to `values`.
pub(super) type Widen = fn(&[u8], &mut [f32]);

/// The function for a block type, and the bytes of its blocks; `None` where there is none here.
pub(super) fn widen_of(dtype: GgmlDType) -> Option<(Widen, usize)> {
    match dtype {
        GgmlDType::Q8_0 => Some((q8_0, 34)),
        GgmlDType::Q4_0 => Some((q4_0, 18)),
        _ => None,
    }
}

dispatched!(
    /// `Q8_0`: `scale x byte`.
    fn q8_0(bytes: &[u8], values: &mut [f32]) = q8_0_body
);
dispatched!(
    /// `Q4_0`: `scale x (nibble - 8)`.
    fn q4_0(bytes: &[u8], values: &mut [f32]) = q4_0_body
);

#[inline(always)]
fn q8_0_body(bytes: &[u8], values: &mut [f32]) {
    for (block, values) in bytes.as_chunks::<34>().0.iter().zip(values.as_chunks_mut::<BLOCK>().0) {
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        for i in 0..BLOCK {
            values[i] = scale * (block[2 + i] as i8) as f32;
        }
    }
}

#[inline(always)]
fn q4_0_body(bytes: &[u8], values: &mut [f32]) {
    for (block, values) in bytes.as_chunks::<18>().0.iter().zip(values.as_chunks_mut::<BLOCK>().0) {
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        for i in 0..BLOCK / 2 {
            values[i] = scale * ((block[2 + i] & 15) as i32 - 8) as f32;
            values[i + BLOCK / 2] = scale * ((block[2 + i] >> 4) as i32 - 8) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::quantized::QTensor;
    use candle_core::{Device, Tensor};

    #[test]
    fn blocks_widen_to_what_candle_dequantizes() {
        for dtype in [GgmlDType::Q8_0, GgmlDType::Q4_0] {
            let weights = Tensor::randn(0f32, 1.0, (5, 96), &Device::Cpu).unwrap();
            let blocks = QTensor::quantize(&weights, dtype).unwrap();
            let want: Vec<f32> = blocks.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let (widen, _) = widen_of(dtype).unwrap();
            let mut got = vec![0f32; 5 * 96];
            widen(&blocks.data().unwrap(), &mut got);
            assert_eq!(got, want, "{dtype:?}");
        }
    }
}
