//! TLS as nsqd's flags set it: for TCP clients that upgrade, for HTTPS, and for the broker's own requests.
//!
//! nsqd takes TLS 1.0 and 1.1 where it is not told otherwise; rustls speaks 1.2 and 1.3 only, so those are the floor here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore,
    ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::settings::{ClientAuthPolicy, TlsMinVersion, TlsSettings};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not fit, or the roots do not serve.
    #[error("{}: {source}", file.display())]
    Unfit {
        /// The certificate, or the roots.
        file: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// Clients' certificates are to be verified, and nothing says against what.
    #[error("a client's certificate cannot be verified without a root CA file, or any of the system's")]
    NoRoots,
}

/// What a client that upgrades, or speaks HTTPS, meets.
pub(crate) fn server_config(settings: &TlsSettings) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(in_gos_order(aws_lc_rs::default_provider()));
    let chain = certificates(&settings.cert)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key).map_err(|error| TlsError::File {
        file: settings.key.clone(),
        reason: pem_reason(&error, "private key"),
    })?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(settings.min_version))
        .expect("the provider has suites for both versions");
    let builder = match settings.client_auth_policy {
        ClientAuthPolicy::Off => builder.with_no_client_auth(),
        ClientAuthPolicy::Require => builder.with_client_cert_verifier(Arc::new(AnyClient(provider))),
        ClientAuthPolicy::RequireVerify => builder.with_client_cert_verifier(verifier(settings, &provider)?),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::Unfit { file: settings.cert.clone(), source })?;
    config.ignore_client_order = true;
    Ok(Arc::new(config))
}

/// Go's server chooses by its own order, AES-128 first. So does this: a client that holds a ticket of the nsqd that stood here offers it with
/// AES-128's hash, and under a suite with another hash its handshake would fail.
fn in_gos_order(mut provider: CryptoProvider) -> CryptoProvider {
    provider.cipher_suites.sort_by_key(|suite| match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 0,
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => 1,
        _ => 2,
    });
    provider
}

/// How the broker's own requests verify whom they ask: by the root CA file if there is one, else by the system's roots.
pub(crate) fn client_config(settings: Option<&TlsSettings>) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = roots(settings.and_then(|settings| settings.root_ca_file.as_deref()))?;
    let oldest = settings.map_or(TlsMinVersion::default(), |settings| settings.min_version);
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions(oldest))
        .expect("the provider has suites for both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

static SINCE_1_2: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

fn versions(oldest: TlsMinVersion) -> &'static [&'static SupportedProtocolVersion] {
    match oldest {
        TlsMinVersion::Tls13 => &SINCE_1_2[..1],
        TlsMinVersion::Ssl30 | TlsMinVersion::Tls10 | TlsMinVersion::Tls11 | TlsMinVersion::Tls12 => {
            &SINCE_1_2
        }
    }
}

fn verifier(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = roots(settings.root_ca_file.as_deref())?;
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    builder.build().map_err(|error| TlsError::File {
        file: settings.root_ca_file.clone().unwrap_or_default(),
        reason: error.to_string(),
    })
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|source| TlsError::Unfit { file: file.to_owned(), source })?;
            }
        }
        None => {
            let (_added, _unreadable) =
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let reason = match found {
        Ok(certificates) if !certificates.is_empty() => return Ok(certificates),
        Ok(_) => "holds no certificate in PEM form".to_owned(),
        Err(error) => pem_reason(&error, "certificate"),
    };
    Err(TlsError::File { file: file.to_owned(), reason })
}

fn pem_reason(error: &PemError, wanted: &str) -> String {
    match error {
        PemError::NoItemsFound => format!("holds no {wanted} in PEM form"),
        PemError::Io(error) => format!("cannot be read: {error}"),
        other => format!("is not PEM: {other}"),
    }
}

/// nsqd's `require`: a client must show some certificate and hold its key; who signed it does not matter.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if end_entity.is_empty() {
            return Err(CertificateError::BadEncoding.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
