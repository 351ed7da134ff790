//! Who owns a pod's volume claim, and so takes it along: the retention policy works by owner references. A claim that goes
//! with its pod is deleted after it; an ordinal that comes back before that waits.

/// `persistentVolumeClaimRetentionPolicy`: who owns a pod's claim, and takes it along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimRetention {
    /// `whenDeleted: Delete`.
    pub delete_with_set: bool,
    /// `whenScaled: Delete`.
    pub delete_when_scaled: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimOwners {
    pub set: bool,
    pub pod: bool,
}

impl ClaimRetention {
    /// The owner references on the claim of a pod inside the window, or of a condemned one (Kubernetes documentation,
    /// StatefulSets, "PersistentVolumeClaim retention").
    #[must_use]
    pub fn owners(self, condemned: bool) -> ClaimOwners {
        let pod = self.delete_when_scaled && condemned;
        ClaimOwners { set: self.delete_with_set && !pod, pod }
    }
}
