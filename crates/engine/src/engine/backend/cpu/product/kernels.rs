//! The tiles compiled for each instruction set, and which of them a CPU runs.

use super::super::packed::Format;
use super::super::simd::{Level, Simd, portable::Portable};
use super::activations::ByteTile;
use super::{float, ints};
use half::{bf16, f16};

/// The most rows that a tile has on each level: as many as the registers hold sums of.
pub(in super::super) fn tile_rows(level: Level, format: Format) -> usize {
    match (level, format.is_quantized()) {
        (Level::Avx512Vnni, false) => 12,
        (Level::Avx512Vnni, true) => 6,
        (Level::AvxVnni | Level::Avx2, false) => 3,
        (Level::AvxVnni | Level::Avx2, true) => 2,
        (Level::Neon | Level::Portable, _) => 2,
    }
}

/// How the weights of a tile are stored: a format of matrices, or that of a key-value cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Stored {
    Matrix(Format),
    /// Signed bytes, as numbers.
    Bytes,
}

/// Activations of a tile.
#[derive(Clone, Copy)]
pub(in super::super) enum X {
    /// Rows side by side.
    Floats(*const f32),
    /// Rows one behind the other, so far apart.
    Apart(*const f32, usize),
    /// Rounded to 8 bits.
    Bytes(ByteTile),
}

/// What to prefetch while a tile is computed: where it begins, and how many lines for each block of 32 inputs.
/// The hardware's own prefetching stops at the end of a page.
#[derive(Clone, Copy)]
pub(in super::super) struct Prefetch {
    pub(in super::super) from: *const u8,
    pub(in super::super) lines: usize,
}

/// One tile: a panel and its activations.
#[derive(Clone, Copy)]
pub(in super::super) struct Tile {
    pub(in super::super) stored: Stored,
    pub(in super::super) panel: *const u8,
    pub(in super::super) prefetch: Prefetch,
    pub(in super::super) x: X,
    pub(in super::super) rows: usize,
    pub(in super::super) cols: usize,
    pub(in super::super) out: *mut f32,
}

/// Runs a tile by the kernels of `level`.
///
/// # Safety
/// The CPU must have `level`; the tile's pointers must be as its format and sizes say, and it must have no more rows than
/// [`tile_rows`].
pub(in super::super) unsafe fn run(level: Level, tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Vnni => avx512(tile),
            #[cfg(target_arch = "x86_64")]
            Level::AvxVnni => avx_vnni(tile),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => avx2(tile),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => few_rows::<super::super::simd::neon::Neon, 8>(tile),
            _ => few_rows::<Portable, 4>(tile),
        }
    }
}

/// Calls `$tile` with the number of rows as a constant.
macro_rules! by_rows {
    ($rows:expr, $($count:literal)*, $call:ident) => {
        match $rows {
            $($count => $call!($count),)*
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}

/// Every format, for levels whose quantized tiles have up to `$ints` rows and whose floating ones up to `$floats`.
macro_rules! kernels {
    ($tile:expr, $simd:ty, $vectors:expr, floats: $($floats:literal)*, ints: $($ints:literal)*) => {{
        let tile: &Tile = $tile;
        match (tile.stored, tile.x) {
            (Stored::Matrix(Format::F32), X::Floats(x)) => kernels!(@float tile, x, f32, $simd, $vectors, $($floats)*),
            (Stored::Matrix(Format::F16), X::Floats(x)) => kernels!(@float tile, x, f16, $simd, $vectors, $($floats)*),
            (Stored::Matrix(Format::Bf16), X::Floats(x)) => kernels!(@float tile, x, bf16, $simd, $vectors, $($floats)*),
            (Stored::Matrix(Format::Q8), X::Bytes(x)) => kernels!(@int tile, x, ints::Q8, $simd, $vectors, $($ints)*),
            (Stored::Matrix(Format::Q4), X::Bytes(x)) => kernels!(@int tile, x, ints::Q4, $simd, $vectors, $($ints)*),
            (Stored::Matrix(Format::Q4K), X::Bytes(x)) => kernels!(@int tile, x, ints::Q4K, $simd, $vectors, $($ints)*),
            (Stored::Matrix(Format::Q6K), X::Bytes(x)) => kernels!(@int tile, x, ints::Q6K, $simd, $vectors, $($ints)*),
            (Stored::Bytes, X::Floats(x)) => kernels!(@float tile, x, i8, $simd, $vectors, $($floats)*),
            (Stored::Matrix(Format::F32), X::Apart(x, s)) => kernels!(@apart tile, x, s, f32, $simd, $vectors, $($floats)*),
            (Stored::Matrix(Format::F16), X::Apart(x, s)) => kernels!(@apart tile, x, s, f16, $simd, $vectors, $($floats)*),
            (Stored::Bytes, X::Apart(x, s)) => kernels!(@apart tile, x, s, i8, $simd, $vectors, $($floats)*),
            (stored, _) => unreachable!("{stored:?} with the other kind of activations"),
        }
    }};
    (@float $tile:ident, $x:ident, $weight:ty, $simd:ty, $vectors:expr, $($count:literal)*) => {{
        macro_rules! call {
            ($rows:literal) => {
                float::tile::<$simd, $weight, $rows, $vectors, false>(
                    ($tile.panel.cast(), $tile.prefetch),
                    ($x, 0),
                    $tile.cols,
                    $tile.out,
                )
            };
        }
        match $tile.rows {
            1 => float::one_row::<$simd, $weight, $vectors>(($tile.panel.cast(), $tile.prefetch), $x, $tile.cols, $tile.out),
            rows => by_rows!(rows, $($count)*, call),
        }
    }};
    (@apart $tile:ident, $x:ident, $stride:ident, $weight:ty, $simd:ty, $vectors:expr, $($count:literal)*) => {{
        macro_rules! call {
            ($rows:literal) => {
                float::tile::<$simd, $weight, $rows, $vectors, true>(
                    ($tile.panel.cast(), $tile.prefetch),
                    ($x, $stride),
                    $tile.cols,
                    $tile.out,
                )
            };
        }
        match $tile.rows {
            1 => float::one_row::<$simd, $weight, $vectors>(($tile.panel.cast(), $tile.prefetch), $x, $tile.cols, $tile.out),
            rows => by_rows!(rows, $($count)*, call),
        }
    }};
    (@int $tile:ident, $x:ident, $blocks:ty, $simd:ty, $vectors:expr, $($count:literal)*) => {{
        macro_rules! call {
            ($rows:literal) => {
                ints::tile::<$simd, $blocks, $rows, $vectors>(($tile.panel, $tile.prefetch), $x, $tile.cols, $tile.out)
            };
        }
        by_rows!($tile.rows, $($count)*, call)
    }};
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn avx512(tile: &Tile) {
    use super::super::simd::avx512::Avx512Vnni;
    // SAFETY: the caller's promise.
    unsafe { kernels!(tile, Avx512Vnni, 2, floats: 2 3 4 5 6 7 8 9 10 11 12, ints: 1 2 3 4 5 6) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
unsafe fn avx_vnni(tile: &Tile) {
    use super::super::simd::avx2::Avx2;
    // SAFETY: the caller's promise.
    unsafe { kernels!(tile, Avx2<true>, 4, floats: 2 3, ints: 1 2) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2(tile: &Tile) {
    use super::super::simd::avx2::Avx2;
    // SAFETY: the caller's promise.
    unsafe { kernels!(tile, Avx2<false>, 4, floats: 2 3, ints: 1 2) }
}

/// Levels that need no feature beyond the target's.
unsafe fn few_rows<S: Simd, const V: usize>(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { kernels!(tile, S, V, floats: 2, ints: 1 2) }
}
