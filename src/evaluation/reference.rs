//! What is kept of the reference's logits at each token that counts: the log-sum-exp, the logarithm of the token's own
//! probability, and the most probable tokens with theirs. All logits of a vocabulary of 128,000 would take 500 kB a
//! token; this takes 8 bytes a token of the vocabulary that matters.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// The most tokens that are kept.
pub const MOST: usize = 64;
/// Tokens are kept until their probabilities sum to this.
const ENOUGH: f64 = 0.999_99;
const MAGIC: &[u8; 8] = b"SZWTOPK1";

/// The distribution at one place.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenDistribution {
    /// Logarithm of the sum of the exponentials of all logits.
    pub log_sum: f32,
    /// Logarithm of the probability of the token that came.
    pub target: f32,
    /// The most probable tokens, the first first, with the logarithm of their probability.
    pub top: Vec<(u32, f32)>,
}

/// Logarithm of the sum of the exponentials.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !most.is_finite() {
        return f64::NAN;
    }
    // Eight sums, so that the loop can be vectorised.
    let mut sums = [0f32; 8];
    let (chunks, rest) = logits.as_chunks::<8>();
    for chunk in chunks {
        for lane in 0..8 {
            sums[lane] += (chunk[lane] - most).exp();
        }
    }
    let tail: f32 = rest.iter().map(|logit| (logit - most).exp()).sum();
    most as f64 + (sums.iter().map(|sum| *sum as f64).sum::<f64>() + tail as f64).ln()
}

impl TokenDistribution {
    /// What is kept of `logits`, where `target` came.
    pub fn of(logits: &[f32], target: u32) -> Self {
        let log_sum = log_sum_exp(logits);
        let log = |index: u32| (logits[index as usize] as f64 - log_sum) as f32;
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if order.len() > MOST {
            order.select_nth_unstable_by(MOST - 1, by_logit);
            order.truncate(MOST);
        }
        order.sort_unstable_by(by_logit);
        let mut mass = 0.0;
        let enough = order.iter().position(|index| {
            mass += (log(*index) as f64).exp();
            mass >= ENOUGH
        });
        order.truncate(enough.map_or(MOST, |at| at + 1));
        let top = order.into_iter().map(|index| (index, log(index))).collect();
        Self { log_sum: log_sum as f32, target: log(target), top }
    }

    /// What the kept tokens leave over.
    pub fn tail(&self) -> f64 {
        (1.0 - self.top.iter().map(|(_, log)| (*log as f64).exp()).sum::<f64>()).max(0.0)
    }

    /// The Kullback-Leibler divergence from this to the distribution of `logits` (whose log-sum-exp is `log_sum`), in
    /// nats. All tokens that were not kept are taken as one, which makes it smaller, if anything (the data processing
    /// inequality), by little where its `tail` is small.
    pub fn divergence(&self, logits: &[f32], log_sum: f64) -> f64 {
        let (mut sum, mut ours, mut theirs) = (0.0, 0.0, 0.0);
        for (index, log) in &self.top {
            let (p, log_q) = ((*log as f64).exp(), logits[*index as usize] as f64 - log_sum);
            sum += p * (*log as f64 - log_q);
            ours += p;
            theirs += log_q.exp();
        }
        let (ours, theirs) = (1.0 - ours, 1.0 - theirs);
        // Less than a rounding error of f32 is no mass.
        if ours > 1e-6 && theirs > 0.0 {
            sum += ours * (ours / theirs.max(1e-9)).ln();
        }
        sum.max(0.0)
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.log_sum.to_le_bytes())?;
        out.write_all(&self.target.to_le_bytes())?;
        out.write_all(&[self.top.len() as u8])?;
        for (index, log) in &self.top {
            out.write_all(&index.to_le_bytes())?;
            out.write_all(&log.to_le_bytes())?;
        }
        Ok(())
    }
}

/// Writes the file, beside its place until it is whole.
pub struct DistributionWriter {
    path: PathBuf,
    out: BufWriter<File>,
}

impl DistributionWriter {
    /// Begins the file of a vocabulary.
    pub fn create(path: &Path, vocab: usize) -> io::Result<Self> {
        let mut out = BufWriter::new(File::create(path.with_extension("new"))?);
        out.write_all(MAGIC)?;
        out.write_all(&(vocab as u64).to_le_bytes())?;
        Ok(Self { path: path.to_path_buf(), out })
    }

    /// Adds the next place.
    pub fn push(&mut self, distribution: &TokenDistribution) -> io::Result<()> {
        distribution.write(&mut self.out)
    }

    /// Puts the file into its place.
    pub fn finish(self) -> io::Result<()> {
        self.out.into_inner().map_err(|e| e.into_error())?.sync_all()?;
        std::fs::rename(self.path.with_extension("new"), &self.path)
    }
}

/// Reads the file, place after place.
pub struct DistributionReader {
    input: BufReader<File>,
    vocab: usize,
}

impl DistributionReader {
    /// Opens the file of a vocabulary of this size.
    pub fn open(path: &Path, vocab: usize) -> io::Result<Self> {
        let mut input = BufReader::new(File::open(path)?);
        let mut magic = [0; 8];
        input.read_exact(&mut magic)?;
        let mut count = [0; 8];
        input.read_exact(&mut count)?;
        match (&magic == MAGIC, u64::from_le_bytes(count) == vocab as u64) {
            (true, true) => Ok(Self { input, vocab }),
            (false, _) => Err(invalid("not a file of reference probabilities")),
            (_, false) => Err(invalid("the reference has another vocabulary")),
        }
    }

    /// The next place.
    pub fn read(&mut self) -> io::Result<TokenDistribution> {
        let log_sum = f32::from_le_bytes(self.bytes()?);
        let target = f32::from_le_bytes(self.bytes()?);
        let [count] = self.bytes()?;
        if count as usize > MOST {
            return Err(invalid("a place with too many tokens"));
        }
        let mut top = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let index = u32::from_le_bytes(self.bytes()?);
            let log = f32::from_le_bytes(self.bytes()?);
            if index as usize >= self.vocab || log.is_nan() || log > 1e-3 {
                return Err(invalid("a token that cannot be"));
            }
            top.push((index, log));
        }
        Ok(TokenDistribution { log_sum, target, top })
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full_divergence(p: &[f32], q: &[f32]) -> f64 {
        let (p_sum, q_sum) = (log_sum_exp(p), log_sum_exp(q));
        let each = p.iter().zip(q).map(|(p, q)| (*p as f64 - p_sum, *q as f64 - q_sum));
        each.map(|(p, q)| p.exp() * (p - q)).sum()
    }

    proptest! {
        #[test]
        fn the_kept_tokens_give_nearly_the_whole_divergence(
            p in proptest::collection::vec(-12f32..12.0, 200), noise in proptest::collection::vec(-0.5f32..0.5, 200),
        ) {
            let q: Vec<f32> = p.iter().zip(&noise).map(|(p, n)| p + n).collect();
            let kept = TokenDistribution::of(&p, 3);
            let (found, whole) = (kept.divergence(&q, log_sum_exp(&q)), full_divergence(&p, &q));
            prop_assert!(found <= whole + 1e-5, "{found} {whole}");
            prop_assert!(found >= whole * 0.97 - 1e-5 - kept.tail(), "{found} {whole} {}", kept.tail());
        }

        #[test]
        fn a_file_reads_back(logits in proptest::collection::vec(-5f32..5.0, 1..100), target in 0usize..100) {
            let target = target % logits.len();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.topk");
            let kept = TokenDistribution::of(&logits, target as u32);
            let mut writer = DistributionWriter::create(&path, logits.len()).unwrap();
            writer.push(&kept).unwrap();
            writer.finish().unwrap();
            let mut reader = DistributionReader::open(&path, logits.len()).unwrap();
            prop_assert_eq!(reader.read().unwrap(), kept);
            prop_assert!(reader.read().is_err());
            prop_assert!(DistributionReader::open(&path, logits.len() + 1).is_err());
        }

        #[test]
        fn hostile_bytes_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.topk");
            let whole: Vec<u8> = MAGIC.iter().copied().chain(50u64.to_le_bytes()).chain(bytes).collect();
            std::fs::write(&path, whole).unwrap();
            let mut reader = DistributionReader::open(&path, 50).unwrap();
            for _ in 0..100 {
                let Ok(found) = reader.read() else { break };
                prop_assert!(found.top.iter().all(|(index, _)| *index < 50));
            }
        }
    }

    #[test]
    fn a_model_alike_has_no_divergence() {
        let logits: Vec<f32> = (0..500).map(|i| (i as f32 * 0.37).sin() * 4.0).collect();
        let kept = TokenDistribution::of(&logits, 1);
        assert!(kept.divergence(&logits, log_sum_exp(&logits)) < 1e-6);
        assert!(log_sum_exp(&[f32::NAN, 1.0]).is_nan());
    }
}
