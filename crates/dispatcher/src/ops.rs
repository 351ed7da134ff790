//! Operators and scalers: the `admin` listener (metrics, health, API), `keda`'s external scaler, and `reload`.

pub mod admin;
pub(crate) mod certificates;
pub mod keda;
pub mod reload;
