//! A row out of its panel.

use super::{BLOCK, Format, PANEL, Q4_BYTES, Q4K_BLOCK, Q4K_BYTES, Q6K_BLOCK, Q6K_BYTES, Q8_BYTES};
use half::{bf16, f16};

/// Writes the values of row `row` (of 32) of a panel.
pub(super) fn row(format: Format, panel: &[u8], row: usize, values: &mut [f32]) {
    match format {
        Format::F32 => dense::<4>(panel, row, values, f32::from_le_bytes),
        Format::F16 => dense::<2>(panel, row, values, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Format::Bf16 => dense::<2>(panel, row, values, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        Format::Q8 => {
            for (from, values) in panel.chunks_exact(Q8_BYTES).zip(values.as_chunks_mut::<BLOCK>().0) {
                let scale = half(from, row);
                for (i, value) in values.iter_mut().enumerate() {
                    *value = scale * grouped(&from[PANEL * 2..], row, i) as i8 as f32;
                }
            }
        }
        Format::Q4 => {
            for (from, values) in panel.chunks_exact(Q4_BYTES).zip(values.as_chunks_mut::<BLOCK>().0) {
                let scale = half(from, row);
                for (i, value) in values.iter_mut().enumerate() {
                    *value = scale * (nibble(&from[PANEL * 2..], row, i) as i32 - 8) as f32;
                }
            }
        }
        Format::Q4K => {
            for (from, values) in panel.chunks_exact(Q4K_BYTES).zip(values.as_chunks_mut::<256>().0) {
                q4k(from, row, values);
            }
        }
        Format::Q6K => {
            for (from, values) in panel.chunks_exact(Q6K_BYTES).zip(values.as_chunks_mut::<256>().0) {
                q6k(from, row, values);
            }
        }
    }
}

fn dense<const N: usize>(panel: &[u8], row: usize, values: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (from, to) in panel.as_chunks::<N>().0.chunks_exact(PANEL).zip(values) {
        *to = value(from[row]);
    }
}

/// The `f16` number `index` of `bytes`.
fn half(bytes: &[u8], index: usize) -> f32 {
    f16::from_le_bytes([bytes[index * 2], bytes[index * 2 + 1]]).to_f32()
}

/// Byte `i` of a row, of groups of four that stand among those of the other rows.
fn grouped(bytes: &[u8], row: usize, i: usize) -> u8 {
    bytes[i / 4 * PANEL * 4 + row * 4 + i % 4]
}

/// Half byte `i` of a block of 32.
fn nibble(bytes: &[u8], row: usize, i: usize) -> u8 {
    let byte = grouped(bytes, row, i % 16);
    if i < 16 { byte & 15 } else { byte >> 4 }
}

fn q4k(from: &[u8], row: usize, values: &mut [f32; 256]) {
    let (factors, blocks) = from.split_at(PANEL * 4);
    let (scale, min) = (half(factors, row), half(factors, PANEL + row));
    for (from, values) in blocks.chunks_exact(Q4K_BLOCK).zip(values.as_chunks_mut::<BLOCK>().0) {
        let (scale, min) = (scale * from[row] as f32, min * from[PANEL + row] as f32);
        for (i, value) in values.iter_mut().enumerate() {
            *value = scale * nibble(&from[PANEL * 2..], row, i) as f32 - min;
        }
    }
}

fn q6k(from: &[u8], row: usize, values: &mut [f32; 256]) {
    let (factors, blocks) = from.split_at(PANEL * 2);
    let factor = half(factors, row);
    for (from, values) in blocks.chunks_exact(Q6K_BLOCK).zip(values.as_chunks_mut::<BLOCK>().0) {
        let (low, high) = from[PANEL * 2..].split_at(PANEL * BLOCK / 2);
        for (i, value) in values.iter_mut().enumerate() {
            let (half, group, byte) = (i / 16, i % 16 / 4, i % 4);
            let scale = factor * from[half * PANEL + row] as i8 as f32;
            let pair = (grouped(high, row, half * 4 + byte) >> (2 * group)) & 3;
            *value = scale * ((nibble(low, row, i) | (pair << 4)) as i32 - 32) as f32;
        }
    }
}
