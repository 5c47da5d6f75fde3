//! Functions of rows of activations between the products: norms, gates, biases. Candle's own run on one thread, or on a
//! second pool of threads that waits while the first one spins.

use super::dispatch::dispatched;
use super::softmax::exp;
use super::values::{SharedMut, contiguous_f32};
use super::work::share_out;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

/// Numbers below which one thread does it all: handing work over costs more.
const ALONE_BELOW: usize = 1 << 14;

/// `len` numbers in rows of `cols`, each made by `work(index, row)` from zeros, by several threads where that is worth it.
pub(super) fn made_of_rows(len: usize, cols: usize, work: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    // Rows of nothing are nothing, however many there are.
    if len == 0 || cols == 0 {
        return Vec::new();
    }
    if len < ALONE_BELOW {
        let mut y = vec![0f32; len];
        y.chunks_exact_mut(cols).enumerate().for_each(|(index, row)| work(index, row));
        return y;
    }
    let mut y: Vec<f32> = Vec::with_capacity(len);
    let to = SharedMut(y.as_mut_ptr());
    share_out(
        len / cols,
        || (),
        |(), index| {
            // SAFETY: each row lies within the capacity and is handed to one worker, as zeros.
            let row = unsafe {
                to.at(index * cols).write_bytes(0, cols);
                std::slice::from_raw_parts_mut(to.at(index * cols), cols)
            };
            work(index, row);
        },
    );
    // SAFETY: every row was written.
    unsafe { y.set_len(len / cols * cols) };
    y
}

/// An error where two tensors have rows of different lengths.
pub(super) fn same_cols(a: &Layout, b: &Layout) -> Result<()> {
    if a.dims().last() == b.dims().last() {
        Ok(())
    } else {
        bail!("{:?} and {:?} have rows of different lengths", a.shape(), b.shape())
    }
}

const LANES: usize = 16;

/// The sum of `each` over a row, in lanes, so that it vectorises.
#[inline(always)]
fn total(row: &[f32], each: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += each(chunk[lane]);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|value| each(*value)).sum::<f32>()
}

dispatched!(
    fn rms_norm_row(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) = rms_norm_body
);

#[inline(always)]
fn rms_norm_body(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let inverse = 1.0 / (total(x, |v| v * v) / x.len() as f32 + eps).sqrt();
    for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
        *y = x * inverse * weight;
    }
}

dispatched!(
    fn layer_norm_row(x: &[f32], weights: (&[f32], &[f32]), eps: f32, y: &mut [f32]) = layer_norm_body
);

#[inline(always)]
fn layer_norm_body(x: &[f32], (weight, bias): (&[f32], &[f32]), eps: f32, y: &mut [f32]) {
    let mean = total(x, |v| v) / x.len() as f32;
    let inverse = 1.0 / (total(x, |v| (v - mean) * (v - mean)) / x.len() as f32 + eps).sqrt();
    for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
        *y = (x - mean) * inverse * weight + bias;
    }
}

dispatched!(
    fn swiglu_row(gate: &[f32], up: &[f32], y: &mut [f32]) = swiglu_body
);

#[inline(always)]
fn swiglu_body(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
        let small = exp(-gate.abs());
        let sigmoid = if *gate >= 0.0 { 1.0 } else { small } / (1.0 + small);
        // A gate that is not a number would vanish in the exponential's clamp.
        *y = if gate.is_nan() { *gate } else { gate * sigmoid * up };
    }
}

dispatched!(
    fn gelu_row(x: &[f32], y: &mut [f32]) = gelu_body
);

#[inline(always)]
fn gelu_body(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = if x.is_nan() { *x } else { 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)) };
    }
}

dispatched!(
    fn geglu_row(gate: &[f32], up: &[f32], y: &mut [f32]) = geglu_body
);

#[inline(always)]
fn geglu_body(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
        *y = if gate.is_nan() { *gate } else { gelu_tanh(*gate) * up };
    }
}

/// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`, which is `x` times the logistic function of twice what the tangent is
/// of (arXiv 1606.08415).
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    let inner = 2.0 * 0.797_884_6 * x * (1.0 + 0.044_715 * x * x);
    let small = exp(-inner.abs());
    x * (if inner >= 0.0 { 1.0 } else { small } / (1.0 + small))
}

/// The error function to about 2e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let poly = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    let most = 1.0 - poly * exp(-x * x);
    if x < 0.0 { -most } else { most }
}

struct RmsNorm(f32);
struct LayerNorm(f32);
struct Swiglu;
struct Geglu;
struct Gelu;
struct AddBias;

/// `x / rms(x) * weight` of each row (arXiv 1910.07467).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    x.apply_op2_no_bwd(weight, &RmsNorm(eps))
}

/// `(x - mean(x)) / deviation(x) * weight + bias` of each row (arXiv 1607.06450).
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    x.apply_op3_no_bwd(weight, bias, &LayerNorm(eps))
}

/// `silu(gate) * up` (arXiv 2002.05202).
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.apply_op2_no_bwd(up, &Swiglu)
}

/// `gelu(gate) * up`, by the hyperbolic tangent (arXiv 2002.05202).
pub fn geglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.apply_op2_no_bwd(up, &Geglu)
}

/// `x` times the probability that a normal number is below it, by the error function (arXiv 1606.08415).
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.apply_op1_no_bwd(&Gelu)
}

/// `bias` added to each row.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.apply_op2_no_bwd(bias, &AddBias)
}

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, _, cols) = contiguous_f32(x, xl)?;
        let y = made_of_rows(x.len(), cols, |row, y| gelu_row(&x[row * cols..(row + 1) * cols], y));
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }
}

/// A function of rows of two tensors: of `b` always the same one where `b` has one row.
fn of_two(
    (x, xl): (&CpuStorage, &Layout),
    (b, bl): (&CpuStorage, &Layout),
    one: bool,
    work: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
) -> Result<(CpuStorage, Shape)> {
    same_cols(xl, bl)?;
    let ((x, rows, cols), (b, b_rows, _)) = (contiguous_f32(x, xl)?, contiguous_f32(b, bl)?);
    if b_rows != if one { 1 } else { rows } {
        bail!("{:?} and {:?} do not go together", xl.shape(), bl.shape());
    }
    let y = made_of_rows(x.len(), cols, |row, y| {
        let at = if one { 0 } else { row * cols };
        work(&x[row * cols..(row + 1) * cols], &b[at..at + cols], y)
    });
    Ok((CpuStorage::F32(y), xl.shape().clone()))
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        of_two((x, xl), (w, wl), true, |x, weight, y| rms_norm_row(x, weight, self.0, y))
    }
}

impl CustomOp2 for Swiglu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, gate: &CpuStorage, gl: &Layout, up: &CpuStorage, ul: &Layout) -> Result<(CpuStorage, Shape)> {
        of_two((gate, gl), (up, ul), false, swiglu_row)
    }
}

impl CustomOp2 for Geglu {
    fn name(&self) -> &'static str {
        "geglu"
    }

    fn cpu_fwd(&self, gate: &CpuStorage, gl: &Layout, up: &CpuStorage, ul: &Layout) -> Result<(CpuStorage, Shape)> {
        of_two((gate, gl), (up, ul), false, geglu_row)
    }
}

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        of_two((x, xl), (b, bl), true, |x, bias, y| {
            y.iter_mut().zip(x).zip(bias).for_each(|((y, x), bias)| *y = x + bias)
        })
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        same_cols(wl, bl)?;
        let (bias, ..) = contiguous_f32(b, bl)?;
        of_two((x, xl), (w, wl), true, |x, weight, y| layer_norm_row(x, (weight, bias), self.0, y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn off(got: Tensor, want: Tensor) -> f32 {
        assert_eq!(got.dims(), want.dims());
        (got - want).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn they_are_candles() {
        // Below and above the size from which several threads work, and rows that no vector divides.
        for (rows, cols) in [(3usize, 37usize), (300, 172)] {
            let random = |shape: &[usize]| Tensor::randn(0f32, 2.0, shape, &Device::Cpu).unwrap();
            let (x, up, w, b) = (random(&[1, rows, cols]), random(&[1, rows, cols]), random(&[cols]), random(&[cols]));
            assert!(off(rms_norm(&x, &w, 1e-5).unwrap(), candle_nn::ops::rms_norm(&x, &w, 1e-5).unwrap()) < 1e-5);
            let want = candle_nn::ops::layer_norm(&x, &w, &b, 1e-5).unwrap();
            assert!(off(layer_norm(&x, &w, &b, 1e-5).unwrap(), want) < 1e-5);
            let want = (candle_nn::ops::silu(&x).unwrap() * &up).unwrap();
            assert!(off(swiglu(&x, &up).unwrap(), want) < 1e-5);
            assert!(off(gelu(&x).unwrap(), x.gelu_erf().unwrap()) < 2e-6);
            assert!(off(geglu(&x, &up).unwrap(), (x.gelu().unwrap() * &up).unwrap()) < 1e-5);
            assert!(off(add_bias(&x, &b).unwrap(), x.broadcast_add(&b).unwrap()) == 0.0);
        }
    }

    #[test]
    fn extremes_stay_what_they_are() {
        let x = Tensor::new(&[[1e30f32, -1e30, f32::NAN, 0.0]], &Device::Cpu).unwrap();
        for y in [gelu(&x).unwrap(), swiglu(&x, &x.ones_like().unwrap()).unwrap()] {
            let y: Vec<f32> = y.flatten_all().unwrap().to_vec1().unwrap();
            assert!(y[0] == 1e30 && y[1] == 0.0 && y[2].is_nan() && y[3] == 0.0, "{y:?}");
        }
    }

    #[test]
    fn rows_of_nothing_are_nothing() {
        let zeros = |dims: &[usize]| Tensor::zeros(dims, candle_core::DType::F32, &Device::Cpu).unwrap();
        for dims in [[0usize, 4], [3, 0], [0, 0]] {
            let (x, weight) = (zeros(&dims), zeros(&dims[1..]));
            assert_eq!(gelu(&x).unwrap().dims(), dims);
            assert_eq!(swiglu(&x, &x).unwrap().dims(), dims);
            // A norm of no columns has no row of weights.
            assert_eq!(rms_norm(&x, &weight, 1e-5).is_ok(), dims[1] > 0);
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let zeros = |dims: &[usize]| Tensor::zeros(dims, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(rms_norm(&zeros(&[2, 4]), &zeros(&[3]), 1e-5).is_err());
        assert!(swiglu(&zeros(&[2, 4]), &zeros(&[1, 4])).is_err());
    }
}
