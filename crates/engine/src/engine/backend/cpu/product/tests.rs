use super::*;
use crate::engine::weights::build::ggml_dtype;
use crate::workload::Encoding;
use candle_core::quantized::QTensor;
use candle_core::{DType, Device};
use std::convert::Infallible;

const ENCODINGS: [Encoding; 7] =
    [Encoding::F32, Encoding::F16, Encoding::Bf16, Encoding::Q8_0, Encoding::Q4_0, Encoding::Q4K, Encoding::Q6K];

/// A random matrix packed, and its values by candle.
fn matrix(encoding: Encoding, rows: usize, cols: usize) -> (Packed, Tensor) {
    let values = Tensor::randn(0f32, 1.0, (rows, cols), &Device::Cpu).unwrap();
    let blocks = QTensor::quantize(&values, ggml_dtype(encoding)).unwrap();
    let bytes = blocks.data().unwrap().into_owned();
    let row_bytes = bytes.len() / rows;
    let format = Format::of(encoding, cols).unwrap();
    let packed = Packed::build::<Infallible>(format, (rows, cols), |range, out| {
        out.copy_from_slice(&bytes[range.start * row_bytes..range.end * row_bytes]);
        Ok(())
    });
    (packed.unwrap(), blocks.dequantize(&Device::Cpu).unwrap())
}

fn by_level(x: &Tensor, packed: &Packed, level: Level) -> Tensor {
    let (rows, _) = x.dims2().unwrap();
    let y = x.apply_op1_no_bwd(&Products { matrices: &[packed], level }).unwrap();
    y.reshape((rows, packed.rows())).unwrap()
}

/// The largest difference, over the size that products of `x` with normal weights have.
fn error(got: &Tensor, want: &Tensor, x: &Tensor) -> f32 {
    let number = |t: Tensor| t.to_scalar::<f32>().unwrap();
    let size = number(x.sqr().unwrap().mean_all().unwrap()).sqrt() * (x.dims()[x.rank() - 1] as f32).sqrt();
    number((got - want).unwrap().abs().unwrap().max_all().unwrap()) / size
}

/// Activations are rounded to 8 bits by blocks of 32, to steps of 1/127 of the block's largest, which for normal numbers is
/// about 2.1: an error of 0.0165 / sqrt(12) = 0.5 % of each, and of their sums. Six times that is beyond chance for the
/// thousands of results here.
const ROUNDED: f32 = 0.03;
/// Weights are exact in `f32`, and sums differ by their order only.
const EXACT: f32 = 2e-5;

#[test]
fn products_agree_with_candle_on_every_level() {
    for encoding in ENCODINGS {
        let cols = if encoding.block().0 == 256 { 768 } else { 352 };
        for rows in [1usize, 31, 64, 70] {
            let (packed, values) = matrix(encoding, rows, cols);
            for m in [1usize, 2, 5, 6, 7, 13, 31] {
                let x = Tensor::randn(0f32, 1.0, (m, cols), &Device::Cpu).unwrap();
                let want = x.matmul(&values.t().unwrap()).unwrap();
                let bound = if packed.format().is_quantized() { ROUNDED } else { EXACT };
                for level in Level::all() {
                    let off = error(&by_level(&x, &packed, level), &want, &x);
                    assert!(off < bound, "{encoding} {level:?} {rows} x {cols}, {m} rows: {off}");
                }
            }
        }
    }
}

#[test]
fn more_threads_than_panels_and_tiles_change_nothing() {
    for (encodings, m) in [
        (&[Encoding::F32][..], 1usize),
        (&[Encoding::Q8_0], 1),
        (&[Encoding::Q8_0], 13),
        (&[Encoding::F16], 13),
        (&[Encoding::Q8_0, Encoding::F32, Encoding::Q4_0], 3),
        (&[Encoding::Q4_0], 31),
    ] {
        let cols = 64;
        let packed: Vec<Packed> = encodings.iter().map(|encoding| matrix(*encoding, 33, cols).0).collect();
        let matrices: Vec<&Packed> = packed.iter().collect();
        let x: Vec<f32> = Tensor::randn(0f32, 1.0, m * cols, &Device::Cpu).unwrap().to_vec1().unwrap();
        let products = Products { matrices: &matrices, level: Level::best() };
        let one = products.run(&x, (m, cols), 1);
        for threads in [2usize, 5, 64, 100, 1000] {
            assert_eq!(products.run(&x, (m, cols), threads), one, "{encodings:?}, {m} rows, {threads} threads");
        }
        assert!(products.run(&[], (0, cols), 64).is_empty());
    }
}

#[test]
fn quantized_products_are_exact_where_activations_are() {
    // Multiples of a power of two up to 127 need no rounding, so that nothing but the order of sums is left.
    for encoding in [Encoding::Q8_0, Encoding::Q4_0, Encoding::Q4K, Encoding::Q6K] {
        let (packed, values) = matrix(encoding, 40, 512);
        let x: Vec<f32> =
            (0..9 * 512).map(|i| if i % 32 == 0 { 127.0 } else { ((i * 73) % 255) as f32 - 127.0 }).collect();
        let x = Tensor::from_vec(x, (9, 512), &Device::Cpu).unwrap();
        let want = x.matmul(&values.t().unwrap()).unwrap();
        for level in Level::all() {
            let off = error(&by_level(&x, &packed, level), &want, &x);
            assert!(off < EXACT, "{encoding} {level:?}: {off}");
        }
    }
}

#[test]
fn rows_read_back_exactly() {
    for encoding in ENCODINGS {
        let (packed, values) = matrix(encoding, 37, 512);
        let values: Vec<Vec<f32>> = values.to_vec2().unwrap();
        let mut got = vec![0f32; 512];
        for (row, want) in values.iter().enumerate() {
            packed.row(row, &mut got);
            assert_eq!(&got, want, "{encoding} row {row}");
        }
    }
}

#[test]
fn several_matrices_of_one_input_are_each_their_own_product() {
    let (a, a_values) = matrix(Encoding::Q4K, 40, 256);
    let (b, b_values) = matrix(Encoding::F16, 33, 256);
    let (c, c_values) = matrix(Encoding::Q6K, 7, 256);
    for m in [1usize, 9] {
        let x = Tensor::randn(0f32, 1.0, (1, m, 256), &Device::Cpu).unwrap();
        let got = products(&x, &[&a, &b, &c]).unwrap();
        for (got, values) in got.iter().zip([&a_values, &b_values, &c_values]) {
            let want = x.reshape((m, 256)).unwrap().matmul(&values.t().unwrap()).unwrap();
            assert_eq!(got.dims(), [1, m, values.dim(0).unwrap()]);
            assert!(error(&got.reshape(want.shape()).unwrap(), &want, &x) < ROUNDED);
        }
    }
}

#[test]
fn what_is_not_a_number_stays_visible() {
    let (packed, _) = matrix(Encoding::Q8_0, 32, 64);
    let mut values = vec![1f32; 64];
    values[40] = f32::NAN;
    let x = Tensor::from_vec(values, (1, 64), &Device::Cpu).unwrap();
    for level in Level::all() {
        let y: Vec<f32> = by_level(&x, &packed, level).flatten_all().unwrap().to_vec1().unwrap();
        assert!(y.iter().all(|value| value.is_nan()), "{level:?}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let (packed, _) = matrix(Encoding::F16, 32, 64);
    let x = Tensor::zeros((2, 8), DType::F32, &Device::Cpu).unwrap();
    assert!(products(&x, &[&packed]).unwrap_err().to_string().contains("64 inputs"));
}
