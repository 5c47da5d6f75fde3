//! The parts that the cost of a request is made of.

use crate::sizing::price::money::CostInterval;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// What money goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// Hardware while it works on requests.
    Compute,
    /// Hardware that is paid for and waits: for load, for the peak of the day, for the failure of another.
    Idle,
    /// Disks.
    Storage,
    /// Traffic to the users.
    Egress,
    /// Electricity of own hardware while it works.
    Energy,
    /// Rooms, network and staff of own hardware.
    Facility,
    /// Starts of serverless instances.
    ColdStarts,
    /// What is lost when spot instances are taken away.
    Interruptions,
    /// Requests that failed and were paid all the same.
    Failures,
}

impl Component {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Component; 9] = [
        Component::Compute,
        Component::Idle,
        Component::Storage,
        Component::Egress,
        Component::Energy,
        Component::Facility,
        Component::ColdStarts,
        Component::Interruptions,
        Component::Failures,
    ];

    /// The name in files and on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Idle => "idle",
            Self::Storage => "storage",
            Self::Egress => "egress",
            Self::Energy => "energy",
            Self::Facility => "facility",
            Self::ColdStarts => "cold_starts",
            Self::Interruptions => "interruptions",
            Self::Failures => "failures",
        }
    }
}

/// The cost of one request by component, each with its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breakdown([CostInterval; Component::ALL.len()]);

impl Breakdown {
    /// What a component costs.
    pub fn of(&self, component: Component) -> CostInterval {
        self.0[component as usize]
    }

    /// Adds to a component; `None` beyond what a decimal holds.
    pub fn add(&mut self, component: Component, cost: CostInterval) -> Option<()> {
        self.0[component as usize] = self.0[component as usize].plus(cost)?;
        Some(())
    }

    /// The sum. Ranges add up, as their errors go together.
    pub fn total(&self) -> Option<CostInterval> {
        self.0.iter().try_fold(CostInterval::ZERO, |sum, cost| sum.plus(*cost))
    }

    /// Makes the cost one of successful requests, where this share of all fails: `total x f / (1 - f)` comes on top.
    pub fn with_failures(mut self, share: f64) -> Option<Self> {
        if share > 0.0 {
            let lost = self.total()?.times(share / (1.0 - share))?;
            self.add(Component::Failures, lost)?;
        }
        Some(self)
    }

    /// Components that are not nothing.
    pub fn parts(&self) -> impl Iterator<Item = (Component, CostInterval)> {
        Component::ALL.into_iter().map(|c| (c, self.of(c))).filter(|(_, cost)| *cost != CostInterval::ZERO)
    }
}

impl Serialize for Breakdown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (component, cost) in self.parts() {
            map.serialize_entry(component.name(), &cost)?;
        }
        map.end()
    }
}
