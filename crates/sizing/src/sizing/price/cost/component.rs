//! The parts that the cost of a request is made of. Every form that shows costs, the sheet of a workbook and the script of a
//! report's page read their names, colours and ways of being paid from the table here.

use crate::units::Usd;
use crate::units::money::CostInterval;
use rust_decimal::Decimal;
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

/// What the amount of a component goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paid {
    /// The price of the hardware, for the time that a request takes of it.
    Hardware,
    /// A share of that price on top.
    OnTop,
    /// A price of its own for each hour of an instance.
    Hour,
    /// A price of its own for each request.
    Request,
    /// All other components together.
    Rest,
}

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Which.
    pub component: Component,
    /// The name in files; with spaces for underscores it is that on the screen.
    pub name: &'static str,
    /// Its colour, such that neighbours differ in lightness and bars read in grey too.
    pub fill: u32,
    /// What it goes by.
    pub paid: Paid,
    /// The remark of offers whose price of it is not known.
    pub gap: Option<&'static str>,
}

const fn facts(component: Component, name: &'static str, fill: u32, paid: Paid, gap: Option<&'static str>) -> Facts {
    Facts { component, name, fill, paid, gap }
}

/// Every component, in the order of the enumeration, in which they are shown.
pub const TABLE: [Facts; 9] = [
    facts(Component::Compute, "compute", 0x0072b2, Paid::Hardware, None),
    facts(Component::Idle, "idle", 0xbed7eb, Paid::Hardware, None),
    facts(Component::Storage, "storage", 0x009e73, Paid::Hour, Some("disk_price_not_known")),
    facts(Component::Egress, "egress", 0xf0e442, Paid::Request, Some("egress_price_not_known")),
    facts(Component::Energy, "energy", 0xd55e00, Paid::Hardware, None),
    facts(Component::Facility, "facility", 0xfac8a0, Paid::Hardware, None),
    facts(Component::ColdStarts, "cold_starts", 0x643c78, Paid::Hardware, None),
    facts(Component::Interruptions, "interruptions", 0xe1bee6, Paid::OnTop, None),
    facts(Component::Failures, "failures", 0x141414, Paid::Rest, None),
];

impl Component {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Component; TABLE.len()] = {
        let mut all = [Component::Compute; TABLE.len()];
        let mut place = 0;
        while place < TABLE.len() {
            all[place] = TABLE[place].component;
            place += 1;
        }
        all
    };

    /// Its line in the table.
    pub fn facts(self) -> &'static Facts {
        &TABLE[self as usize]
    }

    /// The name in files.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The name on the screen.
    pub fn label(self) -> String {
        self.name().replace('_', " ")
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

    /// The sum of the components that go by something.
    pub fn paid_by(&self, paid: Paid) -> CostInterval {
        let of = TABLE.iter().filter(|facts| facts.paid == paid).map(|facts| self.of(facts.component));
        of.fold(CostInterval::ZERO, |sum, cost| sum.plus(cost).unwrap_or(sum))
    }

    /// What stays as it is whatever the hardware costs: components with prices of their own.
    pub fn beside_hardware(&self) -> Usd {
        let [hour, request] = [Paid::Hour, Paid::Request].map(|paid| self.paid_by(paid).value.0);
        Usd(hour.checked_add(request).unwrap_or(Decimal::ZERO))
    }

    /// Makes the cost one of successful requests, where this share of all fails: `total x f / (1 - f)` comes on top.
    pub fn with_failures(mut self, share: f64) -> Option<Self> {
        if share > 0.0 {
            let lost = self.total()?.times(crate::sizing::formulas::failed_per_success(share))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_component_stands_at_its_place() {
        for (place, (component, facts)) in Component::ALL.into_iter().zip(TABLE).enumerate() {
            assert_eq!(
                (component as usize, component.facts().component, facts.component),
                (place, component, component)
            );
        }
    }
}
