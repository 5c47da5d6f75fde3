//! Rows of the file format into a panel.
//!
//! Layouts of the blocks (the GGUF specification; ggml `block_q8_0`, `block_q4_0`, `block_q4_K`, `block_q6_K`): `Q8_0` is an
//! `f16` scale and 32 signed bytes; `Q4_0` a scale and 16 bytes, low halves the first 16 weights, high halves the last 16.
//! `Q4_K` has two `f16` factors, eight pairs of scale and minimum in 6 bits, and 128 bytes, each 32 of them two blocks of 32
//! weights. `Q6_K` has 128 bytes of low halves, 64 of high pairs, sixteen scales and a factor.

use super::{BLOCK, Format, PANEL, Q4_BYTES, Q4K_BLOCK, Q4K_BYTES, Q6K_BLOCK, Q6K_BYTES, Q8_BYTES};

/// Bytes of each row that are written to a panel before those of the next: their places together stay in the first cache.
const STRETCH: usize = 256;

/// Writes rows of a panel, each of `row_bytes`.
pub(super) fn rows(format: Format, panel: &mut [u8], bytes: &[u8], row_bytes: usize) {
    let element = match format {
        Format::F32 => 4,
        Format::F16 | Format::Bf16 => 2,
        _ => {
            bytes.chunks_exact(row_bytes).enumerate().for_each(|(row, bytes)| quantized(format, panel, row, bytes));
            return;
        }
    };
    for start in (0..row_bytes).step_by(STRETCH) {
        let end = row_bytes.min(start + STRETCH);
        let panel = &mut panel[start * PANEL..end * PANEL];
        for (row, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
            match element {
                4 => dense::<4>(panel, row, &bytes[start..end]),
                _ => dense::<2>(panel, row, &bytes[start..end]),
            }
        }
    }
}

/// Writes row `row` (of 32) of a panel of blocks.
fn quantized(format: Format, panel: &mut [u8], row: usize, bytes: &[u8]) {
    match format {
        Format::F32 | Format::F16 | Format::Bf16 => unreachable!("not made of blocks"),
        Format::Q8 => {
            for (to, from) in panel.chunks_exact_mut(Q8_BYTES).zip(bytes.as_chunks::<34>().0) {
                let (scales, weights) = to.split_at_mut(PANEL * 2);
                scales[row * 2..row * 2 + 2].copy_from_slice(&from[..2]);
                groups(weights, row, &from[2..]);
            }
        }
        Format::Q4 => {
            for (to, from) in panel.chunks_exact_mut(Q4_BYTES).zip(bytes.as_chunks::<18>().0) {
                let (scales, weights) = to.split_at_mut(PANEL * 2);
                scales[row * 2..row * 2 + 2].copy_from_slice(&from[..2]);
                groups(weights, row, &from[2..]);
            }
        }
        Format::Q4K => {
            for (to, from) in panel.chunks_exact_mut(Q4K_BYTES).zip(bytes.as_chunks::<144>().0) {
                q4k(to, row, from);
            }
        }
        Format::Q6K => {
            for (to, from) in panel.chunks_exact_mut(Q6K_BYTES).zip(bytes.as_chunks::<210>().0) {
                q6k(to, row, from);
            }
        }
    }
}

fn dense<const N: usize>(panel: &mut [u8], row: usize, bytes: &[u8]) {
    for (to, from) in panel.chunks_exact_mut(PANEL * N).zip(bytes.as_chunks::<N>().0) {
        to[row * N..row * N + N].copy_from_slice(from);
    }
}

/// Groups of four bytes to their places among those of the other rows.
fn groups(to: &mut [u8], row: usize, from: &[u8]) {
    for (to, from) in to.chunks_exact_mut(PANEL * 4).zip(from.as_chunks::<4>().0) {
        to[row * 4..row * 4 + 4].copy_from_slice(from);
    }
}

/// The scale and the minimum of block `index` of eight.
fn scale_and_min(packed: &[u8], index: usize) -> (u8, u8) {
    match index {
        0..4 => (packed[index] & 63, packed[index + 4] & 63),
        _ => (
            (packed[index + 4] & 15) | ((packed[index - 4] >> 6) << 4),
            (packed[index + 4] >> 4) | ((packed[index] >> 6) << 4),
        ),
    }
}

fn q4k(to: &mut [u8], row: usize, from: &[u8; 144]) {
    let (factors, blocks) = to.split_at_mut(PANEL * 4);
    factors[row * 2..row * 2 + 2].copy_from_slice(&from[..2]);
    factors[PANEL * 2 + row * 2..PANEL * 2 + row * 2 + 2].copy_from_slice(&from[2..4]);
    let (scales, weights) = from[4..].split_at(12);
    for (index, to) in blocks.chunks_exact_mut(Q4K_BLOCK).enumerate() {
        (to[row], to[PANEL + row]) = scale_and_min(scales, index);
        let both = &weights[index / 2 * BLOCK..index / 2 * BLOCK + BLOCK];
        let weight = |i: usize| if index % 2 == 0 { both[i] & 15 } else { both[i] >> 4 };
        let halves: [u8; BLOCK / 2] = std::array::from_fn(|i| weight(i) | (weight(i + BLOCK / 2) << 4));
        groups(&mut to[PANEL * 2..], row, &halves);
    }
}

/// The 256 weights of a `Q6_K` block, 0 to 63.
fn six_bits(from: &[u8; 210]) -> [u8; 256] {
    let (low, high) = from.split_at(128);
    std::array::from_fn(|i| {
        // Halves of 128 weights, in each four runs of 32 that share the bytes of `high`.
        let (half, run, at) = (i / 128, i % 128 / 32, i % 32);
        let byte = low[half * 64 + run % 2 * 32 + at];
        let nibble = if run < 2 { byte & 15 } else { byte >> 4 };
        nibble | (((high[half * 32 + at] >> (2 * run)) & 3) << 4)
    })
}

fn q6k(to: &mut [u8], row: usize, from: &[u8; 210]) {
    let (factors, blocks) = to.split_at_mut(PANEL * 2);
    factors[row * 2..row * 2 + 2].copy_from_slice(&from[208..]);
    let weights = six_bits(from);
    let scales = &from[192..208];
    for (index, to) in blocks.chunks_exact_mut(Q6K_BLOCK).enumerate() {
        (to[row], to[PANEL + row]) = (scales[index * 2], scales[index * 2 + 1]);
        let weights = &weights[index * BLOCK..(index + 1) * BLOCK];
        let halves: [u8; BLOCK / 2] = std::array::from_fn(|i| (weights[i] & 15) | (weights[i + BLOCK / 2] << 4));
        // A byte for each of four inputs, and in it the pairs of the four groups of them.
        let pairs: [u8; BLOCK / 4] = std::array::from_fn(|i| {
            let (half, byte) = (i / 4, i % 4);
            (0..4).fold(0, |all, group| all | ((weights[half * 16 + group * 4 + byte] >> 4) << (2 * group)))
        });
        let (low, high) = to[PANEL * 2..].split_at_mut(PANEL * BLOCK / 2);
        groups(low, row, &halves);
        groups(high, row, &pairs);
    }
}
