//! Setting weights of a decoder to zero: by magnitude, or by Wanda, block after block, each on the activations that the
//! blocks before it, already pruned, give (as the authors of Wanda do). Embedding and output matrix are left whole.

use super::{Block, Decoder, InputEmbedding, ProductInput};
use crate::engine::backend::Backend;
use crate::engine::backend::linear::Linear;
use crate::engine::backend::ops::Compute;
use crate::engine::rounding::round;
use crate::engine::weights::build::{self, Target};
use crate::workload::pruning::{Method, Sparsity};
use crate::workload::rounding::Scheme;
use crate::workload::{CacheType, Pruning, Quant};
use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;
use std::convert::Infallible;

/// Calibration sequences that run together.
const BATCH: usize = 8;

/// Norms of what the four kinds of products of a block read, one for each input.
#[derive(Default)]
struct Norms([Vec<f64>; 4]);

impl Norms {
    fn add(&mut self, reads: ProductInput, x: &Tensor) -> Result<()> {
        let width = x.dim(candle_core::D::Minus1)?;
        let squares = x.to_dtype(DType::F32)?.reshape(((), width))?.sqr()?.sum(0)?.to_vec1::<f32>()?;
        let sums = &mut self.0[reads as usize];
        sums.resize(width, 0.0);
        sums.iter_mut().zip(squares).for_each(|(sum, square)| *sum += square as f64);
        Ok(())
    }

    fn of(&self, reads: ProductInput) -> Vec<f32> {
        self.0[reads as usize].iter().map(|sum| sum.sqrt() as f32).collect()
    }
}

/// Prunes the products of all blocks, stores everything at `quant`, and returns how many weights are zero by that.
pub(in crate::engine) fn prune(
    decoder: &mut Decoder,
    pruning: &Pruning,
    calibration: &[Vec<u32>],
    quant: Quant,
) -> Result<usize> {
    let mut zeros = 0;
    let mut states = match pruning.method {
        Method::Magnitude => Vec::new(),
        Method::Wanda => embedded(decoder, calibration)?,
    };
    let compute = decoder.backend.clone();
    for index in 0..decoder.blocks.len() {
        let mut norms = Norms::default();
        for x in &states {
            pass(decoder, index, x, &mut |reads, x| norms.add(reads, x))?;
        }
        zeros += prune_block(&mut decoder.blocks[index], pruning, &norms, quant, &compute)?;
        for x in &mut states {
            *x = pass(decoder, index, x, &mut |_, _| Ok(()))?;
        }
    }
    let table = match &mut decoder.begin {
        InputEmbedding::Tokens { table, .. } => Some(table),
        InputEmbedding::Patches(_) => None,
    };
    for projection in table.into_iter().chain(decoder.output.as_mut()).flatten() {
        let (values, rows, cols) = values(&projection.weight)?;
        projection.weight = stored(&values, rows, cols, quant, &compute)?;
    }
    Ok(zeros)
}

/// The calibration text as batches of embeddings, with a cache for them.
fn embedded(decoder: &mut Decoder, calibration: &[Vec<u32>]) -> Result<Vec<Tensor>> {
    let length = calibration.first().map_or(0, Vec::len);
    if length == 0 || calibration.iter().any(|sequence| sequence.len() != length) {
        bail!("Wanda needs calibration text of at least one window");
    }
    let batch = BATCH.min(calibration.len());
    decoder.allocate(batch, length, CacheType::F32)?;
    let device = decoder.backend.device.clone();
    let chunks = calibration.chunks_exact(batch);
    chunks.map(|chunk| decoder.embed(&Tensor::from_vec(chunk.concat(), (batch, length), &device)?)).collect()
}

/// One block, from the first position on.
fn pass(
    decoder: &mut Decoder,
    index: usize,
    x: &Tensor,
    hook: &mut dyn FnMut(ProductInput, &Tensor) -> Result<()>,
) -> Result<Tensor> {
    decoder.reset();
    let pass = decoder.pass(x.dim(1)?)?;
    let mut stream = x.clone();
    decoder.blocks[index].forward(&decoder.backend, &mut stream, &pass, hook)?;
    Ok(stream)
}

fn prune_block(
    block: &mut Block<Compute>,
    pruning: &Pruning,
    norms: &Norms,
    quant: Quant,
    compute: &Compute,
) -> Result<usize> {
    let mut zeros = 0;
    let matrices = &mut block.matrices;
    let read = [
        (&mut matrices.inputs, ProductInput::AttentionNorm),
        (&mut matrices.attention_output, ProductInput::Attention),
        (&mut matrices.gate_up, ProductInput::FeedForwardNorm),
        (&mut matrices.down, ProductInput::Gated),
    ];
    for (projection, reads) in read.into_iter().flat_map(|(each, reads)| each.iter_mut().map(move |one| (one, reads))) {
        let (mut values, rows, cols) = values(&projection.weight)?;
        zeros += match pruning.method {
            Method::Magnitude => by_magnitude(&mut values, cols, pruning.sparsity),
            Method::Wanda => by_row(&mut values, cols, pruning.sparsity, Some(&norms.of(reads))),
        };
        projection.weight = stored(&values, rows, cols, quant, compute)?;
    }
    Ok(zeros)
}

/// Rounds the products of all blocks as `scheme` rounds weights and, in every pass from now on, what they are multiplied with.
/// Everything is kept in `f32`, in which each rounded number is exact but for its scale.
pub(in crate::engine) fn simulate(decoder: &mut Decoder, scheme: &Scheme) -> Result<()> {
    let compute = decoder.backend.clone();
    for block in &mut decoder.blocks {
        let matrices = &mut block.matrices;
        let all = [&mut matrices.inputs, &mut matrices.attention_output, &mut matrices.gate_up, &mut matrices.down];
        for projection in all.into_iter().flatten() {
            let (mut values, rows, cols) = values(&projection.weight)?;
            round(&mut values, cols, scheme.weights);
            projection.weight = stored(&values, rows, cols, Quant::F32, &compute)?;
        }
    }
    decoder.backend.activations = scheme.activations;
    Ok(())
}

fn values(matrix: &Linear) -> Result<(Vec<f32>, usize, usize)> {
    let tensor = matrix.to_f32()?.to_device(&Device::Cpu)?;
    let (rows, cols) = tensor.dims2()?;
    Ok((tensor.flatten_all()?.to_vec1()?, rows, cols))
}

fn stored(values: &[f32], rows: usize, cols: usize, quant: Quant, compute: &Compute) -> Result<Linear> {
    let target = Target { rows, cols, encoding: quant.encoding(cols), layout: compute.layout() };
    let built = build::matrix::<Infallible>(target, |range, out| {
        out.copy_from_slice(&values[range.start * cols..range.end * cols]);
        Ok(())
    });
    match built {
        Ok(linear) => linear?.prepared_for(compute),
        Err(never) => match never {},
    }
}

/// Drops the smallest weights of the whole matrix; of a pattern, those of each group.
fn by_magnitude(values: &mut [f32], cols: usize, sparsity: Sparsity) -> usize {
    match sparsity {
        Sparsity::Share(share) => {
            let drop = (values.len() as f64 * share) as usize;
            drop_least(values, None, drop);
            drop
        }
        Sparsity::Pattern { .. } => by_row(values, cols, sparsity, None),
    }
}

/// Drops the least of each row, or of each group in a row; weighed by `norms` of the inputs, where they are given. A
/// group that the end of a row cuts short keeps the same share.
fn by_row(values: &mut [f32], cols: usize, sparsity: Sparsity, norms: Option<&[f32]>) -> usize {
    let row = |row: &mut [f32]| match sparsity {
        Sparsity::Share(share) => {
            let drop = (cols as f64 * share) as usize;
            drop_least(row, norms, drop);
            drop
        }
        Sparsity::Pattern { keep, of } => {
            let groups = row.chunks_mut(of).enumerate();
            groups
                .map(|(index, group)| {
                    let drop = group.len() * (of - keep) / of;
                    let norms = norms.map(|norms| &norms[index * of..index * of + group.len()]);
                    drop_least(group, norms, drop);
                    drop
                })
                .sum()
        }
    };
    values.par_chunks_mut(cols).map(row).sum()
}

/// Sets the `drop` least of `values` to zero.
fn drop_least(values: &mut [f32], norms: Option<&[f32]>, drop: usize) {
    if drop == 0 {
        return;
    }
    let weight = |index: usize| values[index].abs() * norms.map_or(1.0, |norms| norms[index]);
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.select_nth_unstable_by(drop - 1, |a, b| weight(*a as usize).total_cmp(&weight(*b as usize)));
    for index in &order[..drop] {
        values[*index as usize] = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitude_drops_the_smallest_of_all() {
        let mut values = [4.0, -0.1, 3.0, 0.2, -2.0, 5.0, 0.3, 1.0];
        assert_eq!(by_magnitude(&mut values, 4, Sparsity::Share(0.5)), 4);
        assert_eq!(values, [4.0, 0.0, 3.0, 0.0, -2.0, 5.0, 0.0, 0.0]);
    }

    #[test]
    fn wanda_weighs_by_what_is_read_in_each_row() {
        let mut values = [4.0, 1.0, 3.0, 2.0, 0.1, 0.4, 0.3, 0.2];
        let norms = [0.1, 9.0, 1.0, 1.0];
        assert_eq!(by_row(&mut values, 4, Sparsity::Share(0.5), Some(&norms)), 4);
        assert_eq!(values, [0.0, 1.0, 3.0, 0.0, 0.0, 0.4, 0.3, 0.0]);
    }

    #[test]
    fn a_pattern_keeps_two_of_four() {
        let mut values = [4.0, 1.0, 3.0, 2.0, 0.1, 0.4, 0.3, 0.2, 7.0, 8.0];
        assert_eq!(by_row(&mut values, 10, Sparsity::Pattern { keep: 2, of: 4 }, None), 5);
        assert_eq!(values, [4.0, 0.0, 3.0, 0.0, 0.0, 0.4, 0.3, 0.0, 0.0, 8.0]);
    }
}
