//! Trust, identity and handshake, for nsqd and nsqlookupd.
//!
//! The configuration is built once per dialler: rustls keeps session tickets in it, and resumes only with the very verifier and certificate that the session began with.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::settings::{ClientCertificate, SettingError, TlsSettings, TlsVersion};

/// rustls remembers the tickets of an eighth as many servers as it is told: 128 here. More than those lose nothing but a full handshake.
const RESUMPTION_SESSIONS: usize = 1024;

/// TLS as it was set up, ready for any number of handshakes.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

/// Neither the roots, which would fill pages, nor anything of the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Opens the files and builds the configuration. `alpn` names the protocols to offer; NSQ has none.
    pub(crate) fn new(settings: &TlsSettings, alpn: &[&[u8]]) -> Result<Tls, Vec<SettingError>> {
        let mut errors = settings.validate();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = keep(&mut errors, verifier(settings, &provider));
        let identity =
            settings.client_certificate.as_ref().and_then(|files| keep(&mut errors, identity(files)));
        let Some(verifier) = verifier.filter(|_| errors.is_empty()) else {
            return Err(errors);
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(settings.min_version))
            .expect("the provider has suites for both versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (identity, &settings.client_certificate) {
            (Some((chain, key)), Some(files)) => {
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    let reason = format!("does not belong to {}: {error}", files.certificate_file.display());
                    vec![SettingError::new(
                        "tls.client_certificate.key_file",
                        files.key_file.display(),
                        reason,
                    )]
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(RESUMPTION_SESSIONS);
        let server_name = settings.server_name.clone();
        let server_name =
            server_name.map(|name| ServerName::try_from(name).expect("validate() read it as a name"));
        Ok(Tls { connector: TlsConnector::from(Arc::new(config)), server_name })
    }

    /// Shakes hands with `host`, whose certificate must carry that name, or the one set in its place.
    pub(crate) async fn handshake(&self, host: &str, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        self.connector.connect(name, socket).await
    }
}

/// How TLS failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TlsFailure {
    /// The server's certificate is not good enough for us: expired, for another name, of an unknown authority...
    #[error("the server's certificate is refused: {0}")]
    ServerCertificate(rustls::CertificateError),
    /// Our certificate, or the lack of one, is not good enough for the server; the alert is all that it says.
    #[error("the server refuses our certificate, or wants one (alert {0:?})")]
    ClientCertificate(AlertDescription),
    /// The host is neither a DNS name nor an address, so no certificate can carry it.
    #[error("the host is neither a DNS name nor an address that a certificate could carry")]
    ServerName,
    /// All else: no version in common, a broken record, an alert.
    #[error(transparent)]
    Other(rustls::Error),
}

/// How TLS failed, where `error` comes from it and not from the network.
pub(crate) fn tls_failure(error: &io::Error) -> Option<TlsFailure> {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, UnknownCA, UnsupportedCertificate,
    };
    let inner = error.get_ref()?;
    if inner.is::<InvalidDnsNameError>() {
        return Some(TlsFailure::ServerName);
    }
    Some(match inner.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(error) => TlsFailure::ServerCertificate(error.clone()),
        rustls::Error::AlertReceived(
            alert @ (AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | UnknownCA
            | UnsupportedCertificate),
        ) => TlsFailure::ClientCertificate(*alert),
        other => TlsFailure::Other(other.clone()),
    })
}

fn keep<T>(errors: &mut Vec<SettingError>, result: Result<T, SettingError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

static SINCE_1_2: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match oldest {
        TlsVersion::V1_2 => &SINCE_1_2,
        TlsVersion::V1_3 => &SINCE_1_2[..1],
    }
}

fn verifier(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, SettingError> {
    if settings.danger_skip_verification {
        tracing::warn!(
            "danger_skip_verification is set: server certificates are not verified, and whoever can reach the connection can read and change it"
        );
        return Ok(Arc::new(Unverified(Arc::clone(provider))));
    }
    let roots = if settings.ca_files.is_empty() { system_roots()? } else { file_roots(settings)? };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    let verifier = verifier.map_err(|error| {
        SettingError::new("tls.ca_files", format_args!("{:?}", settings.ca_files), error.to_string())
    })?;
    Ok(verifier)
}

/// The system's authorities, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`. Where a system has none at all, Mozilla's as built in; but variables that lead nowhere are a mistake.
fn system_roots() -> Result<RootCertStore, SettingError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(path) = std::env::var_os(variable) {
            let reason = format!("{variable} leads to no certificate");
            return Err(SettingError::new("tls.ca_files", path.to_string_lossy(), reason));
        }
    }
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    Ok(roots)
}

fn file_roots(settings: &TlsSettings) -> Result<RootCertStore, SettingError> {
    let mut roots = RootCertStore::empty();
    for file in &settings.ca_files {
        for certificate in certificates(file).map_err(|reason| at("tls.ca_files", file, reason))? {
            roots.add(certificate).map_err(|error| at("tls.ca_files", file, error.to_string()))?;
        }
    }
    Ok(roots)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(files: &ClientCertificate) -> Result<Identity, SettingError> {
    let chain = certificates(&files.certificate_file)
        .map_err(|reason| at("tls.client_certificate.certificate_file", &files.certificate_file, reason))?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file).map_err(|error| {
        at("tls.client_certificate.key_file", &files.key_file, pem_reason(&error, "private key"))
    })?;
    Ok((chain, key))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match found {
        Ok(none) if none.is_empty() => Err("holds no certificate in PEM form".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(pem_reason(&error, "certificate")),
    }
}

fn pem_reason(error: &PemError, wanted: &str) -> String {
    match error {
        PemError::NoItemsFound => format!("holds no {wanted} in PEM form"),
        PemError::Io(error) => format!("cannot be read: {error}"),
        other => format!("is not PEM: {other}"),
    }
}

fn at(field: &'static str, file: &Path, reason: String) -> SettingError {
    SettingError::new(field, file.display(), reason)
}

/// Takes any certificate, but still demands that the peer holds its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
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
