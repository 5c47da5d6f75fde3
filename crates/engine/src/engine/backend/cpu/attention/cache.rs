//! Keys and values of sequences, stored so that attention is two products with panels: keys in panels of 32 positions,
//! values in strips of 32 dimensions.

use super::super::packed::{Format, PANEL};
use super::super::product::kernels::Stored;
use super::super::values::with_f32_values;
use super::CachePositions;
use crate::workload::CacheType;
use candle_core::{Result, Tensor, bail};
use half::f16;
use half::vec::HalfBitsVecExt;

/// Numbers of one kind. `Int8` has a scale for each position and head: its largest magnitude over 127.
enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Int8(Vec<i8>, Vec<f32>),
}

impl Numbers {
    fn zeroed(kind: CacheType, len: usize, scales: usize) -> Self {
        match kind {
            CacheType::F32 => Self::F32(vec![0.0; len]),
            // Zeros as integers come from the system untouched.
            CacheType::F16 => Self::F16(vec![0u16; len].reinterpret_into()),
            CacheType::Int8 => Self::Int8(vec![0; len], vec![0.0; scales]),
        }
    }

    /// Writes `values` to the places `at`, `at + step` and so on, and their scale, where there is one, to `scale`.
    fn write(&mut self, values: &[f32], at: impl Fn(usize) -> usize, scale: usize) {
        match self {
            Self::F32(numbers) => values.iter().enumerate().for_each(|(i, value)| numbers[at(i)] = *value),
            Self::F16(numbers) => {
                use half::slice::HalfFloatSliceExt;
                let mut halves = [f16::ZERO; 64];
                for (chunk, values) in values.chunks(64).enumerate() {
                    let halves = &mut halves[..values.len()];
                    halves.convert_from_f32_slice(values);
                    halves.iter().enumerate().for_each(|(i, value)| numbers[at(chunk * 64 + i)] = *value);
                }
            }
            Self::Int8(numbers, scales) => {
                let most = values.iter().fold(0f32, |most, value| most.max(value.abs()));
                let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
                scales[scale] = if values.iter().all(|value| value.is_finite()) { most / 127.0 } else { f32::NAN };
                for (i, value) in values.iter().enumerate() {
                    numbers[at(i)] = (value * inverse).round_ties_even() as i8;
                }
            }
        }
    }

    fn stored(&self) -> Stored {
        match self {
            Self::F32(_) => Stored::Matrix(Format::F32),
            Self::F16(_) => Stored::Matrix(Format::F16),
            Self::Int8(..) => Stored::Bytes,
        }
    }

    /// The bytes of numbers `range`.
    fn bytes(&self, range: std::ops::Range<usize>) -> &[u8] {
        fn raw<T>(numbers: &[T]) -> &[u8] {
            // SAFETY: plain numbers without padding may be looked at as bytes.
            unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
        }
        match self {
            Self::F32(numbers) => raw(&numbers[range]),
            Self::F16(numbers) => raw(&numbers[range]),
            Self::Int8(numbers, _) => raw(&numbers[range]),
        }
    }

    fn scales(&self, range: std::ops::Range<usize>) -> Option<&[f32]> {
        match self {
            Self::Int8(_, scales) => Some(&scales[range]),
            _ => None,
        }
    }
}

/// A cache of `(rows, kv_heads, capacity, dim)` keys and values.
pub struct KvCache {
    kind: CacheType,
    rows: usize,
    heads: usize,
    capacity: usize,
    dim: usize,
    /// For each row, head and panel of positions: for each dimension 32 positions.
    keys: Numbers,
    /// For each row, head and strip of dimensions: for each position 32 dimensions.
    values: Numbers,
}

impl std::fmt::Debug for KvCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, rows, heads, capacity, dim, .. } = self;
        write!(f, "a cache in {kind} of {rows} rows, {heads} heads, {capacity} positions, {dim} dimensions")
    }
}

/// Keys or values of one row and head.
pub(super) struct Part<'a> {
    numbers: &'a Numbers,
    start: usize,
    /// Numbers of a panel of keys, or of a position of values.
    step: usize,
    /// Numbers of a strip of values.
    strip: usize,
    len: usize,
    pub(super) stored: Stored,
    /// The scale of each position.
    pub(super) scales: Option<&'a [f32]>,
}

impl Part<'_> {
    /// Panel `index` of keys.
    pub(super) fn panel(&self, index: usize) -> &[u8] {
        let start = self.start + index * self.step;
        self.numbers.bytes(start..start + self.step)
    }

    /// Strip `index` of values, from position `first` on.
    pub(super) fn strip(&self, index: usize, first: usize) -> &[u8] {
        let start = self.start + index * self.strip;
        debug_assert!((index + 1) * self.strip <= self.len);
        self.numbers.bytes(start + first * self.step..start + self.strip)
    }
}

impl KvCache {
    /// An empty cache of `(rows, kv_heads, capacity, dim)`.
    pub fn new(kind: CacheType, (rows, heads, capacity, dim): (usize, usize, usize, usize)) -> Self {
        let capacity_up = capacity.next_multiple_of(PANEL);
        let owners = rows * heads;
        Self {
            kind,
            rows,
            heads,
            capacity,
            dim,
            keys: Numbers::zeroed(kind, owners * capacity_up * dim, owners * capacity_up),
            values: Numbers::zeroed(kind, owners * capacity_up * dim.next_multiple_of(PANEL), owners * capacity_up),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn heads(&self) -> usize {
        self.heads
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    fn capacity_up(&self) -> usize {
        self.capacity.next_multiple_of(PANEL)
    }

    pub(super) fn keys(&self, row: usize, head: usize) -> Part<'_> {
        let (owner, len) = (row * self.heads + head, self.capacity_up() * self.dim);
        self.part(&self.keys, owner, len, self.dim * PANEL, len)
    }

    pub(super) fn values(&self, row: usize, head: usize) -> Part<'_> {
        let (owner, strip) = (row * self.heads + head, self.capacity_up() * PANEL);
        self.part(&self.values, owner, strip * self.dim.div_ceil(PANEL), PANEL, strip)
    }

    fn part<'a>(&self, numbers: &'a Numbers, owner: usize, len: usize, step: usize, strip: usize) -> Part<'a> {
        let scales = numbers.scales(owner * self.capacity_up()..(owner + 1) * self.capacity_up());
        Part { numbers, start: owner * len, step, strip, len, stored: numbers.stored(), scales }
    }

    /// Writes the keys and values `(batch, seq, kv_heads, dim)` of new positions behind those of `places`.
    pub fn write(&mut self, keys: &Tensor, values: &Tensor, places: &CachePositions) -> Result<()> {
        let (batch, seq, heads, dim) = keys.dims4()?;
        if dim == 0
            || (heads, dim) != (self.heads, self.dim)
            || keys.shape() != values.shape()
            || !places.fit(batch, self.rows)
        {
            bail!("keys {:?} and values {:?} do not fit {self:?}", keys.shape(), values.shape());
        }
        if places.longest() + seq > self.capacity {
            bail!("{} positions do not fit a cache of {}", places.longest() + seq, self.capacity);
        }
        let (capacity, strips) = (self.capacity_up(), dim.div_ceil(PANEL));
        let at = |index: usize| {
            let (owner, head) = (index / heads, index % heads);
            let (sequence, position) = (owner / seq, places.past(owner / seq) + owner % seq);
            (places.row(sequence) * heads + head, position)
        };
        with_f32_values(keys, |keys| {
            for (index, key) in keys.chunks_exact(dim).enumerate() {
                let (owner, position) = at(index);
                let start = owner * capacity * dim + position / PANEL * PANEL * dim + position % PANEL;
                self.keys.write(key, |i| start + i * PANEL, owner * capacity + position);
            }
        })?;
        with_f32_values(values, |values| {
            for (index, value) in values.chunks_exact(dim).enumerate() {
                let (owner, position) = at(index);
                let start = owner * strips * capacity * PANEL + position * PANEL;
                let place = |i: usize| start + i / PANEL * capacity * PANEL + i % PANEL;
                self.values.write(value, place, owner * capacity + position);
            }
        })
    }
}
