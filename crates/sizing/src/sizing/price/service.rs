//! What is known of a service beyond the speed of its model.

use super::cost::spot::SpotTerms;
use super::demand::Usage;
use crate::catalog::Market;
use crate::units::interval::Interval;

/// What is known of the service beyond the model's speed.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// How much of the paid time is used.
    pub usage: Usage,
    /// Interruptions of spot instances.
    pub spot: SpotTerms,
    /// Seconds that a cold start takes, where it was measured or given.
    pub cold_s: Option<Interval>,
    /// Seconds that a serverless worker is kept after a request, where it is not what the provider has by default.
    pub keep_warm_s: Option<f64>,
    /// Bytes of an answer; `None` is 4 a token and 500 of headers.
    pub response_bytes: Option<f64>,
    /// Disk of an instance in GB; `None` is the weights.
    pub disk_gb: Option<f64>,
    /// Share of requests that fail and are paid all the same.
    pub failure_share: f64,
    /// Share that is taken off list prices (on demand and reserved).
    pub discount: f64,
    /// Markets that are priced as a share off the on-demand price.
    pub commitments: Vec<(Market, f64)>,
}

/// Seconds that a replacement of a spot instance takes where nothing was measured: image, weights and warm-up.
pub const ASSUMED_WARM_S: f64 = 300.0;

impl Default for Service {
    fn default() -> Self {
        Self {
            usage: Usage::Share(1.0),
            spot: SpotTerms { warm_s: ASSUMED_WARM_S, lost_s: 0.0, fallback: 0.0 },
            cold_s: None,
            keep_warm_s: None,
            response_bytes: None,
            disk_gb: None,
            failure_share: 0.0,
            discount: 0.0,
            commitments: Vec::new(),
        }
    }
}
