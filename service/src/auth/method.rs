use std::fmt;

/// A method of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the proto files say what each does")]
pub enum Method {
    UploadKeyPackages,
    GetPoolStatus,
    WatchPool,
    ReconcilePool,
    RevokeKeyPackages,
    ReserveKeyPackages,
    SpendReservation,
    ReleaseReservation,
    ExtendReservation,
    ListSpendLog,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 10] = [
        Self::UploadKeyPackages,
        Self::GetPoolStatus,
        Self::WatchPool,
        Self::ReconcilePool,
        Self::RevokeKeyPackages,
        Self::ReserveKeyPackages,
        Self::SpendReservation,
        Self::ReleaseReservation,
        Self::ExtendReservation,
        Self::ListSpendLog,
    ];

    /// The method of a request's path, `/keypool.v1.<service>/<method>`; none for anything else.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let (_, name) = path.strip_prefix("/keypool.v1.")?.split_once('/')?;
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Its name in the proto files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UploadKeyPackages => "UploadKeyPackages",
            Self::GetPoolStatus => "GetPoolStatus",
            Self::WatchPool => "WatchPool",
            Self::ReconcilePool => "ReconcilePool",
            Self::RevokeKeyPackages => "RevokeKeyPackages",
            Self::ReserveKeyPackages => "ReserveKeyPackages",
            Self::SpendReservation => "SpendReservation",
            Self::ReleaseReservation => "ReleaseReservation",
            Self::ExtendReservation => "ExtendReservation",
            Self::ListSpendLog => "ListSpendLog",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn every_method_of_the_api_is_known() {
        let set = prost_types::FileDescriptorSet::decode(keypool_proto::FILE_DESCRIPTOR_SET);
        let mut known = Vec::new();
        for file in set.unwrap().file {
            for service in &file.service {
                for called in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), called.name());
                    known.push(Method::of(&path).unwrap_or_else(|| panic!("{path} is not known")));
                }
            }
        }
        assert_eq!(known.len(), Method::ALL.len());
        assert!(Method::ALL.iter().all(|method| known.contains(method)));
        assert_eq!(Method::of("/somewhere.v1.Else/WatchPool"), None);
    }
}
