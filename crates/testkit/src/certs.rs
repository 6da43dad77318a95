//! Certificates made on the spot: an authority of the test's own, and leaves it signs, as values and as PEM files.
//!
//! ```no_run
//! # use testkit::certs::{Authority, LeafOptions};
//! let authority = Authority::new();
//! let server = authority.server();                      // localhost, 127.0.0.1, ::1
//! let client = authority.client("posthaste");
//! let expired = authority.leaf(LeafOptions { expired: true, ..LeafOptions::server() });
//! println!("{} {}", authority.ca_file().display(), server.key_file().display());
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

/// A certificate authority. Its files live in a directory that goes when the last clone of the authority goes.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    files: TempDir,
    leaves: AtomicU64,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("files", &self.0.files.path()).finish()
    }
}

/// What a leaf says of itself.
#[derive(Clone, Debug)]
pub struct LeafOptions {
    /// Host names and addresses it is valid for.
    pub names: Vec<String>,
    /// Its common name, which is what nsqd tells the auth server.
    pub common_name: String,
    /// Valid only up to the year 2001.
    pub expired: bool,
    /// For a client instead of a server.
    pub client: bool,
}

impl LeafOptions {
    /// A server on this machine: `localhost`, `127.0.0.1`, `::1`.
    pub fn server() -> Self {
        let names = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
        Self { names, common_name: "localhost".into(), expired: false, client: false }
    }

    /// A server of another name, for the wrong-name row.
    pub fn server_named(name: &str) -> Self {
        Self { names: vec![name.into()], common_name: name.into(), ..Self::server() }
    }

    /// A client of this common name.
    pub fn client(name: &str) -> Self {
        Self { names: vec![name.into()], common_name: name.into(), expired: false, client: true }
    }
}

/// A certificate with its key. The files live as long as the authority or any of its leaves.
#[derive(Clone)]
pub struct Leaf {
    certificate: CertificateDer<'static>,
    key: Arc<PrivatePkcs8KeyDer<'static>>,
    certificate_file: PathBuf,
    key_file: PathBuf,
    // Also holds the directory of the files.
    authority: Authority,
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf").field("certificate_file", &self.certificate_file).finish()
    }
}

impl Authority {
    /// A new authority, trusted by nobody else.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("the provider makes P-256 keys");
        let mut params = CertificateParams::new(Vec::new()).expect("no names to get wrong");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "posthaste test authority");
        let certificate = params.self_signed(&key).expect("the parameters are complete");
        let files =
            tempfile::Builder::new().prefix("posthaste-certs-").tempdir().expect("a temporary directory");
        std::fs::write(files.path().join("ca.pem"), certificate.pem()).expect("the directory is ours");
        let certificate = certificate.der().clone();
        let issuer = Issuer::new(params, key);
        Self(Arc::new(Inner { issuer, certificate, files, leaves: AtomicU64::new(0) }))
    }

    /// The authority's own certificate, PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.0.files.path().join("ca.pem")
    }

    /// The authority's own certificate.
    pub fn ca(&self) -> CertificateDer<'static> {
        self.0.certificate.clone()
    }

    /// A root store that trusts this authority only.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca()).expect("the authority's certificate is well formed");
        roots
    }

    /// A server certificate for this machine.
    pub fn server(&self) -> Leaf {
        self.leaf(LeafOptions::server())
    }

    /// A client certificate of this common name.
    pub fn client(&self, name: &str) -> Leaf {
        self.leaf(LeafOptions::client(name))
    }

    /// A leaf signed by this authority.
    pub fn leaf(&self, options: LeafOptions) -> Leaf {
        let key = KeyPair::generate().expect("the provider makes P-256 keys");
        let mut params =
            CertificateParams::new(options.names).expect("the names are host names or addresses");
        params.distinguished_name.push(DnType::CommonName, options.common_name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match options.client {
            true => ExtendedKeyUsagePurpose::ClientAuth,
            false => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        if options.expired {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.0.issuer).expect("the parameters are complete");
        let serial = self.0.leaves.fetch_add(1, Ordering::Relaxed);
        let certificate_file = self.file(&format!("leaf-{serial}.pem"), &certificate.pem());
        let key_file = self.file(&format!("leaf-{serial}.key"), &key.serialize_pem());
        Leaf {
            certificate: certificate.der().clone(),
            key: Arc::new(PrivatePkcs8KeyDer::from(key.serialize_der())),
            certificate_file,
            key_file,
            authority: self.clone(),
        }
    }

    fn file(&self, name: &str, pem: &str) -> PathBuf {
        let path = self.0.files.path().join(name);
        std::fs::write(&path, pem).expect("the directory is ours");
        path
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Leaf {
    /// Who signed it.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The certificate, PEM.
    pub fn certificate_file(&self) -> &Path {
        &self.certificate_file
    }

    /// Its private key, PEM (PKCS #8).
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// The certificate, as rustls takes it. The chain is one certificate: the authority signs leaves itself.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    /// Its private key, as rustls takes it.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}
