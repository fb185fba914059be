//! Support bundles: what a real node puts into one after bad days, what never gets in, and the script
//! that fetches one.

mod bundle;
mod script;
mod trouble;
