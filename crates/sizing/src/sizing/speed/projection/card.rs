//! The published figures of a card that its speed follows from.

use crate::catalog::Accelerator;
use crate::catalog::accelerator::computed_in;
use crate::workload::{Arithmetic, Quant};
use std::sync::Arc;

/// A card by its figures, in SI units but for the clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// Id in accelerators.csv.
    pub id: Arc<str>,
    /// What the vendor calls it.
    pub name: Arc<str>,
    /// Peak memory bandwidth in B/s.
    pub bandwidth: f64,
    /// Streaming multiprocessors.
    pub sms: f64,
    /// Highest clock of the multiprocessors in GHz.
    pub ghz: f64,
    /// Dense peak in `f16`, operations a second.
    pub fp16: Option<f64>,
    /// Dense peak in `bf16`, operations a second.
    pub bf16: Option<f64>,
    /// Dense peak in `fp8`, operations a second.
    pub fp8: Option<f64>,
    /// Dense peak in `fp4`, operations a second.
    pub fp4: Option<f64>,
    /// Dense peak in `int8`, operations a second.
    pub int8: Option<f64>,
    /// Board power.
    pub tdp_w: Option<f64>,
    /// CUDA compute capability, as a number: 8.6.
    pub capability: f64,
}

/// Of the published peak of FP4, the share that products reach of what those of 16 bits reach of theirs: 5,024 of 9,000 beside
/// 1,946 of 2,250 TFLOP/s on a B200 (GEMM timings of aiconfigurator, Apache-2.0).
const REACHED_OF_FP4: f64 = (5_024.0 / 9_000.0) / (1_946.0 / 2_250.0);

/// Laws are of cards from this compute capability on; what is older runs none of the engines that they were learnt from.
const OLDEST: f64 = 7.0;

impl Card {
    /// The figures of an accelerator; the error names the one that is not published.
    pub fn of(accelerator: &Accelerator) -> Result<Self, &'static str> {
        let capability = accelerator.capability().filter(|capability| *capability >= OLDEST);
        Ok(Self {
            id: accelerator.id.as_str().into(),
            name: accelerator.name.as_str().into(),
            bandwidth: accelerator.bandwidth().ok_or("memory bandwidth")?.0,
            sms: f64::from(accelerator.sm_count.ok_or("number of multiprocessors")?),
            ghz: accelerator.clock_ghz().ok_or("clock")?,
            fp16: accelerator.fp16_tflops.map(|t| t * 1e12),
            bf16: accelerator.bf16_tflops.map(|t| t * 1e12),
            fp8: accelerator.fp8_tflops.map(|t| t * 1e12),
            fp4: accelerator.fp4_tflops.map(|t| t * 1e12),
            int8: accelerator.int8_tops.map(|t| t * 1e12),
            tdp_w: accelerator.tdp_w,
            capability: capability.ok_or("CUDA compute capability")?,
        })
    }

    /// Multiprocessors times clock, in GHz.
    pub fn sm_ghz(&self) -> f64 {
        self.sms * self.ghz
    }

    /// What an operation of a level costs in operations of 16-bit floats, which the laws count in: 1 where weights are
    /// widened to them, less where the card multiplies numbers of fewer bits as they are. `None` where that rate is not
    /// published.
    pub fn operation_cost(&self, quant: Quant) -> Option<f64> {
        match computed_in(quant.arithmetic(), self.capability) {
            Arithmetic::F32 | Arithmetic::Bf16 | Arithmetic::F16 => Some(1.0),
            Arithmetic::Fp8 => Some(self.fp16? / self.fp8?),
            Arithmetic::Fp4 => Some(self.fp16? / (REACHED_OF_FP4 * self.fp4?)),
            Arithmetic::Int8 => Some(self.fp16? / self.int8?),
            Arithmetic::Unknown => None,
        }
    }

    /// Engines launch the kernels of a step as one graph from compute capability 8 on (llama.cpp and vLLM alike); before,
    /// the host launches each.
    pub fn launches_graphs(&self) -> bool {
        self.capability >= 8.0
    }

    /// Energy that an operation takes, relative to the 12 nm generations: what a board power is worth. Ampere is made in
    /// 7 and 8 nm, what came later in 4 and 5 nm.
    pub fn energy_per_operation(&self) -> f64 {
        match self.capability {
            c if c < 8.0 => 1.0,
            c if c < 8.7 => 0.6,
            _ => 0.35,
        }
    }

    /// Whether hosts differ by as much as cards do: older cards at 75 W, which their power limit slows down (the same T4 is
    /// a third faster in one cloud than in another).
    pub fn is_power_bound(&self) -> bool {
        self.capability < 8.0 && self.tdp_w.is_some_and(|watts| watts <= 75.0)
    }

    /// Whether another card is so like it that it hardly says more: the same chip at another clock or bandwidth.
    pub fn is_sibling(&self, other: &Self) -> bool {
        self.capability == other.capability && self.decode_distance(other) < 0.6
    }

    /// A number that grows by one from generation to generation.
    pub fn generation(&self) -> u8 {
        match self.capability {
            c if c < 7.5 => 0,
            c if c < 8.0 => 1,
            c if c < 8.7 => 2,
            c if c < 10.0 => 3,
            _ => 4,
        }
    }

    /// How little two cards have in common in what limits decoding: bandwidth for each unit of arithmetic, size, kind.
    pub fn decode_distance(&self, other: &Self) -> f64 {
        let per_sm = |card: &Self| (card.bandwidth / card.sm_ghz()).ln() / 0.5;
        let size = |card: &Self| card.sm_ghz().ln() / 0.5;
        norm([per_sm(self) - per_sm(other), size(self) - size(other), (self.capability - other.capability) / 2.0])
    }

    /// The same for prefills: matrix rate for each unit of arithmetic, size, kind.
    pub fn prefill_distance(&self, other: &Self) -> f64 {
        let per_sm = |card: &Self| card.fp16.map_or(0.0, |rate| (rate / card.sm_ghz()).ln());
        let size = |card: &Self| card.sm_ghz().ln();
        norm([per_sm(self) - per_sm(other), size(self) - size(other), (self.capability - other.capability) / 2.0])
    }
}

fn norm(parts: [f64; 3]) -> f64 {
    parts.iter().map(|part| part * part).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn numbers_of_few_bits_are_widened_where_a_card_has_no_products_of_them() {
        let catalog = Catalog::embedded().unwrap();
        let cost = |id: &str, level: &str| {
            let card = Card::of(&catalog.accelerators[&format!("nvidia/{id}")]).unwrap();
            card.operation_cost(level.parse().unwrap())
        };
        assert_eq!((cost("a100-sxm-80", "fp8"), cost("h100-sxm-80", "fp8")), (Some(1.0), Some(0.5)));
        assert_eq!((cost("h100-sxm-80", "nvfp4"), cost("h100-sxm-80", "mxfp4")), (Some(1.0), Some(1.0)));
        // 2,250 of 9,000, of which less is reached than of 16 bits.
        let b200 = cost("b200-180", "nvfp4").unwrap();
        assert!((0.35..0.42).contains(&b200), "{b200}");
        assert_eq!((cost("b200-180", "nvfp4a16"), cost("b200-180", "awq")), (Some(1.0), Some(1.0)));
        assert_eq!(cost("b200-180", "mxfp6"), None);
        let rate = |id: &str, level: &str| catalog.accelerators[id].arithmetic(level.parse().unwrap());
        assert_eq!(rate("amd/mi250x-128", "fp8"), rate("amd/mi250x-128", "f16"));
        assert_eq!(rate("nvidia/v100-pcie-16", "nvfp4"), rate("nvidia/v100-pcie-16", "f16"));
    }

    #[test]
    fn what_is_offered_most_has_its_figures() {
        let catalog = Catalog::embedded().unwrap();
        for id in ["t4-16", "t4g-16", "l4-24", "a10-24", "a10g-24", "l40s-48", "a100-sxm-40", "h100-nvl-94", "b200-180"]
        {
            let card = Card::of(&catalog.accelerators[&format!("nvidia/{id}")]).unwrap();
            assert!(card.fp16.is_some() && card.tdp_w.is_some(), "{id}");
        }
        let of = |id: &str| Card::of(&catalog.accelerators[id]).unwrap();
        let (l4, l40s, v100) = (of("nvidia/l4-24"), of("nvidia/l40s-48"), of("nvidia/v100-pcie-16"));
        assert!(l4.launches_graphs() && !v100.launches_graphs());
        assert_eq!(l4.decode_distance(&l4), 0.0);
        assert_eq!(l40s.decode_distance(&v100), v100.decode_distance(&l40s));
        assert!(Card::of(&catalog.accelerators["nvidia/k80-12"]).is_err());
    }
}
