//! Which pod this is.

/// What the pod was told, else what the environment calls it, else what it is.
pub(crate) fn name(told: Option<String>, otherwise: &str) -> String {
    let environment = ["POD_NAME", "HOSTNAME"].into_iter().filter_map(|variable| std::env::var(variable).ok());
    told.into_iter().chain(environment).find(|name| !name.is_empty()).unwrap_or_else(|| otherwise.to_owned())
}
