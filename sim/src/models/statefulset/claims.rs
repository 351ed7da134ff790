//! The owners of a pod's volume claim: the retention policy works through owner references. A claim owned by its pod
//! is deleted after the pod; a new pod of the ordinal waits for that.

/// `persistentVolumeClaimRetentionPolicy`: determines whether a claim is deleted with its pod or set.
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
    /// Returns the owner references on the claim of a pod inside the window, or of a condemned one (Kubernetes
    /// documentation, StatefulSets, "PersistentVolumeClaim retention").
    #[must_use]
    pub fn owners(self, condemned: bool) -> ClaimOwners {
        let pod = self.delete_when_scaled && condemned;
        ClaimOwners { set: self.delete_with_set && !pod, pod }
    }
}
