//! Weight matrices as the products read them: panels of 32 rows, interleaved so that one load brings the same inputs of
//! many rows. Only this copy of a matrix is kept.

mod read;
mod write;

use super::work::share_out;
use crate::workload::Encoding;
#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::MmapMut;
use std::alloc::{Layout, handle_alloc_error};
use std::ops::Range;
use std::sync::Mutex;

/// Rows of a panel.
pub const PANEL: usize = 32;

/// Inputs that share a scale in the quantized formats, and that a step of a product takes.
pub(super) const BLOCK: usize = 32;

/// How the numbers of a panel are stored. For each 32 inputs, quantized panels have the scales of all rows first and the
/// weights behind them, in groups of four inputs: the four of row 0, of row 1 and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For each input the 32 rows' `f32`.
    F32,
    /// The same in `f16`.
    F16,
    /// The same in `bf16`.
    Bf16,
    /// `f16` scales, signed bytes.
    Q8,
    /// `f16` scales; bytes whose low halves are inputs 0 to 15 of the block and whose high halves are 16 to 31.
    Q4,
    /// For each 256 inputs the `f16` factors of scales and of minima, then for each 32 the scales and minima as bytes, and
    /// weights as in `Q4`.
    Q4K,
    /// For each 256 inputs the `f16` factors, then for each 32 two scales a row as signed bytes (inputs 0 to 15 and 16 to
    /// 31), low halves as in `Q4`, and the two high bits, those of four groups of inputs in a byte.
    Q6K,
}

impl Format {
    /// The format for weights of `encoding` in rows of `cols`; `None` where there is none, and candle's blocks are used.
    pub fn of(encoding: Encoding, cols: usize) -> Option<Self> {
        let format = match encoding {
            Encoding::F32 => Self::F32,
            Encoding::F16 => Self::F16,
            Encoding::Bf16 => Self::Bf16,
            Encoding::Q8_0 => Self::Q8,
            Encoding::Q4_0 => Self::Q4,
            Encoding::Q4K => Self::Q4K,
            Encoding::Q6K => Self::Q6K,
            _ => return None,
        };
        cols.is_multiple_of(encoding.block().0).then_some(format)
    }

    /// The encoding that it holds.
    pub fn encoding(self) -> Encoding {
        match self {
            Self::F32 => Encoding::F32,
            Self::F16 => Encoding::F16,
            Self::Bf16 => Encoding::Bf16,
            Self::Q8 => Encoding::Q8_0,
            Self::Q4 => Encoding::Q4_0,
            Self::Q4K => Encoding::Q4K,
            Self::Q6K => Encoding::Q6K,
        }
    }

    /// Bytes of a panel of 32 rows of `cols` weights.
    pub(super) fn panel_bytes(self, cols: usize) -> usize {
        match self {
            Self::F32 => cols * PANEL * 4,
            Self::F16 | Self::Bf16 => cols * PANEL * 2,
            Self::Q8 => cols / BLOCK * Q8_BYTES,
            Self::Q4 => cols / BLOCK * Q4_BYTES,
            Self::Q4K => cols / 256 * Q4K_BYTES,
            Self::Q6K => cols / 256 * Q6K_BYTES,
        }
    }

    /// Whether products take activations in 8 bits.
    pub(super) fn is_quantized(self) -> bool {
        !matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }
}

/// 32 `f16` scales, 32 x 32 signed bytes.
pub(super) const Q8_BYTES: usize = PANEL * 2 + PANEL * BLOCK;
/// 32 `f16` scales, 32 x 32 half bytes.
pub(super) const Q4_BYTES: usize = PANEL * 2 + PANEL * BLOCK / 2;
/// Factors of 256 inputs, then eight times scales, minima and half bytes.
pub(super) const Q4K_BYTES: usize = PANEL * 4 + 8 * Q4K_BLOCK;
/// Scales, minima and half bytes of 32 inputs.
pub(super) const Q4K_BLOCK: usize = PANEL * 2 + PANEL * BLOCK / 2;
/// Factors of 256 inputs, then eight times two scales, half bytes and quarter bytes.
pub(super) const Q6K_BYTES: usize = PANEL * 2 + 8 * Q6K_BLOCK;
/// Two scales, half bytes and quarter bytes of 32 inputs.
pub(super) const Q6K_BLOCK: usize = PANEL * 2 + PANEL * BLOCK / 2 + PANEL * BLOCK / 4;

/// Zeroed memory straight from the system, which begins at a page. Pages come when they are first written, by whichever
/// thread that is; the allocator would hand out, and clear on one thread, what it has at hand.
struct Pages(MmapMut);

impl Pages {
    fn zeroed(bytes: usize) -> Self {
        let map = MmapMut::map_anon(bytes.max(1)).unwrap_or_else(|_| {
            handle_alloc_error(Layout::from_size_align(bytes, 64).unwrap_or(Layout::new::<u64>()));
        });
        // Fewer, larger pages: a token reads all weights once, and each page costs a walk of the page table. Where the system
        // has none of them, nothing is lost.
        #[cfg(target_os = "linux")]
        let _ = map.advise(Advice::HugePage);
        Self(map)
    }
}

/// A `(rows, cols)` matrix in panels; the last panel is filled up with rows of zeros.
pub struct Packed {
    format: Format,
    rows: usize,
    cols: usize,
    pages: Pages,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({:?}, {} x {})", self.format, self.rows, self.cols)
    }
}

/// A pointer that workers write disjoint panels through.
#[derive(Clone, Copy)]
struct Panels(*mut u8);
// SAFETY: each panel is written by one worker.
unsafe impl Sync for Panels {}
// SAFETY: as above.
unsafe impl Send for Panels {}

impl Packed {
    /// Packs a matrix whose rows `fill(rows, bytes)` writes as the file format has them, a few at a time and from several
    /// threads: those that will read the panels, so that memory is near them.
    pub fn build<E: Send>(
        format: Format,
        (rows, cols): (usize, usize),
        fill: impl Fn(Range<usize>, &mut [u8]) -> Result<(), E> + Sync,
    ) -> Result<Self, E> {
        let panel_bytes = format.panel_bytes(cols);
        let row_bytes = format.encoding().matrix_bytes(1, cols).0 as usize;
        let panels = rows.div_ceil(PANEL);
        let mut pages = Pages::zeroed(panels * panel_bytes);
        let start = Panels(pages.0.as_mut_ptr());
        let failure = Mutex::new(None);
        let space = || vec![0u8; PANEL * row_bytes];
        share_out(panels, space, |bytes, index| {
            // The whole of it, which may be shared between threads, and not the pointer within.
            let start = &start;
            let first = index * PANEL;
            let count = PANEL.min(rows - first);
            let bytes = &mut bytes[..count * row_bytes];
            if let Err(error) = fill(first..first + count, bytes) {
                *failure.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
                return;
            }
            // SAFETY: the memory has this many panels, and no other worker has this one.
            let panel = unsafe { std::slice::from_raw_parts_mut(start.0.add(index * panel_bytes), panel_bytes) };
            write::rows(format, panel, bytes, row_bytes);
        });
        match failure.into_inner().unwrap_or_else(|e| e.into_inner()) {
            Some(error) => Err(error),
            None => Ok(Self { format, rows, cols, pages }),
        }
    }

    /// How it is stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.panels() * self.format.panel_bytes(self.cols)
    }

    pub(super) fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }

    /// The panel at `index`.
    pub(super) fn panel(&self, index: usize) -> &[u8] {
        let bytes = self.format.panel_bytes(self.cols);
        &self.pages.0[index * bytes..(index + 1) * bytes]
    }

    /// Writes the values of a row, exactly those that the encoding stands for.
    pub fn row(&self, row: usize, values: &mut [f32]) {
        read::row(self.format, self.panel(row / PANEL), row % PANEL, values);
    }
}
