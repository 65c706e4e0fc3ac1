//! Capacity (`CAP`): how much performance stands at a site, in a country and under a party, and in what units it is joined.

pub(super) mod allocation;
pub(super) mod estate;
pub(super) mod fabric;
pub(super) mod installed;
pub(super) mod performance;
