//! In which markets an offer is ranked, at which price, and which offers are not ranked at all.

use super::filter::{self, Age};
use super::request::RankRequest;
use crate::catalog::{Market, Offer, Shape};
use crate::sizing::price::pricing::Listing;
use rust_decimal::Decimal;
use std::sync::Arc;

/// The listings that a request's markets make of an offer.
pub(super) fn listings<'o>(offer: &'o Offer, request: &RankRequest) -> impl Iterator<Item = Listing<'o>> + use<'o> {
    let service = &request.service;
    let discounted = matches!(offer.market, Market::OnDemand | Market::Reserved1y | Market::Reserved3y);
    let off = |share: f64| Decimal::ONE - Decimal::from_f64_retain(share).unwrap_or_default().round_dp(9);
    let own = request.wants(offer.market).then(|| Listing {
        offer,
        market: offer.market,
        factor: if discounted && service.discount > 0.0 { off(service.discount) } else { Decimal::ONE },
    });
    let committed: Vec<Listing<'o>> = service
        .commitments
        .iter()
        .filter(|(market, _)| offer.market == Market::OnDemand && request.wants(*market))
        .map(|(market, share)| Listing { offer, market: *market, factor: off(*share) })
        .collect();
    own.into_iter().chain(committed)
}

/// Why a price is not ranked, whoever's hardware it is of.
pub(super) fn unusable(offer: &Offer, request: &RankRequest) -> Option<Arc<str>> {
    if let Some(why) = offer.unrankable() {
        return Some(why.into());
    }
    match filter::age(offer, request.freshness, request.today) {
        Age::TooOld(why) => Some(why.into()),
        Age::Fresh | Age::Stale => None,
    }
}

/// What a type has, with how many of it.
pub(super) fn hardware_name(name: &Arc<str>, copies: usize, shape: &Shape) -> Arc<str> {
    match shape.accelerator_count {
        0.0 => name.clone(),
        share if share < 1.0 => format!("{share} of a {name}").into(),
        _ => format!("{copies}x {name}").into(),
    }
}
