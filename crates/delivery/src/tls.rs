//! Trust, our own certificate, and what a handshake offers.
//!
//! One `ClientConfig` per set of TLS settings and for the whole process: rustls resumes a session only within the
//! config that made it, so lanes that shared no config would pay for full handshakes with each other's tickets at hand.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WantsClientCert};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use thiserror::Error;

use crate::settings::{ClientCertificate, Roots, TlsSettings, TlsVersion};
use crate::target::Host;

/// rustls divides this by 8 to get the number of servers whose sessions it keeps, each with up to 8 tickets. Its
/// default keeps 32 servers, which a process with many routes outgrows without a word.
const SESSIONS_MAX: usize = 8 * 1_024;

/// TLS settings that cannot be used.
#[derive(Debug, Error)]
pub enum TlsSettingsError {
    /// A file cannot be read, or holds no PEM of the kind wanted.
    #[error("cannot read {what} from {}: {reason}", path.display())]
    File {
        /// Certificates, or a key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// A file of trusted roots holds a certificate that cannot be a root.
    #[error("a certificate in {} cannot be a trusted root: {reason}", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: rustls::Error,
    },
    /// `SSL_CERT_FILE` or `SSL_CERT_DIR` is set and gives no root. Mozilla's roots are not used instead: whoever sets
    /// these may well want to trust fewer.
    #[error("SSL_CERT_FILE and SSL_CERT_DIR give no trusted root: {0}")]
    NoRoots(String),
    /// The client certificate and its key do not fit together, or cannot be used.
    #[error("the client certificate cannot be used: {0}")]
    ClientCertificate(rustls::Error),
    /// The server name is neither a DNS name nor an address.
    #[error("`{0}` is no server name")]
    ServerName(String),
}

/// A way to do TLS: the config, and the name to ask for and verify.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) server_name: ServerName<'static>,
}

/// The configs of a process, by value.
#[derive(Default)]
pub(crate) struct TlsConfigs {
    configs: Mutex<Vec<(Material, Arc<ClientConfig>)>>,
    system_roots: OnceLock<Arc<RootCertStore>>,
}

/// Everything that goes into a config, files read, so that a file that changed makes another config.
#[derive(PartialEq, Eq)]
struct Material {
    /// `None` are the system's.
    roots: Option<Vec<(PathBuf, Vec<CertificateDer<'static>>)>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    min_version: TlsVersion,
    skip_verification: bool,
}

impl TlsConfigs {
    /// TLS with these settings to `host`.
    ///
    /// # Errors
    /// [`TlsSettingsError`] when files cannot be read or do not fit.
    pub(crate) fn get(&self, settings: &TlsSettings, host: &Host) -> Result<Tls, TlsSettingsError> {
        let server_name = server_name(settings, host)?;
        let material = Material::read(settings)?;
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = configs.iter().find(|(known, _)| *known == material) {
            return Ok(Tls { config: config.clone(), server_name });
        }
        let config = Arc::new(self.build(&material)?);
        configs.push((material, config.clone()));
        Ok(Tls { config, server_name })
    }

    fn build(&self, material: &Material) -> Result<ClientConfig, TlsSettingsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions: &[_] = match material.min_version {
            TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::V1_3 => &[&rustls::version::TLS13],
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .expect("the provider has cipher suites for both versions");
        let builder: ConfigBuilder<ClientConfig, WantsClientCert> = if material.skip_verification {
            tracing::warn!("danger_skip_verification is on: any endpoint's certificate is accepted");
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny { provider }))
        } else {
            builder.with_root_certificates(self.roots(material)?)
        };
        let mut config = match &material.client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(TlsSettingsError::ClientCertificate)?,
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Ok(config)
    }

    fn roots(&self, material: &Material) -> Result<Arc<RootCertStore>, TlsSettingsError> {
        let Some(files) = &material.roots else { return self.system_roots() };
        let mut store = RootCertStore::empty();
        for (path, certificates) in files {
            for certificate in certificates {
                store
                    .add(certificate.clone())
                    .map_err(|reason| TlsSettingsError::Root { path: path.clone(), reason })?;
            }
        }
        Ok(Arc::new(store))
    }

    /// Read once: it takes milliseconds and hundreds of files.
    fn system_roots(&self) -> Result<Arc<RootCertStore>, TlsSettingsError> {
        if let Some(roots) = self.system_roots.get() {
            return Ok(roots.clone());
        }
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        // A system's store may hold certificates that are too old to be used; the others still count.
        let (_added, ignored) = store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            let chosen =
                ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some());
            if chosen {
                let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
                return Err(TlsSettingsError::NoRoots(reasons.join(", ")));
            }
            tracing::info!("the system has no trusted roots: using Mozilla's");
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        tracing::debug!(roots = store.len(), ignored, "trusted roots of the system");
        Ok(self.system_roots.get_or_init(|| Arc::new(store)).clone())
    }
}

impl Material {
    fn read(settings: &TlsSettings) -> Result<Material, TlsSettingsError> {
        let TlsSettings { roots, client_certificate, server_name: _, min_version, danger_skip_verification } =
            settings;
        let roots = match roots {
            Roots::System => None,
            Roots::Files(paths) => {
                let files = paths.iter().map(|path| Ok((path.clone(), read_certificates(path)?)));
                Some(files.collect::<Result<_, _>>()?)
            }
        };
        let client = client_certificate.as_ref().map(read_client_certificate).transpose()?;
        let (min_version, skip_verification) = (*min_version, *danger_skip_verification);
        Ok(Material { roots, client, min_version, skip_verification })
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSettingsError> {
    let failed = |reason: String| TlsSettingsError::File { what: "certificates", path: path.into(), reason };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() { Err(failed("no certificate found in it".into())) } else { Ok(certificates) }
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_client_certificate(files: &ClientCertificate) -> Result<ChainAndKey, TlsSettingsError> {
    let ClientCertificate { certificate, key } = files;
    let chain = read_certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsSettingsError::File {
        what: "a private key",
        path: key.clone(),
        reason: error.to_string(),
    })?;
    Ok((chain, key))
}

fn server_name(settings: &TlsSettings, host: &Host) -> Result<ServerName<'static>, TlsSettingsError> {
    let name = match (&settings.server_name, host) {
        (Some(name), _) => name.clone(),
        (None, Host::Name(name)) => name.to_string(),
        (None, Host::Address(address)) => return Ok(ServerName::IpAddress((*address).into())),
    };
    ServerName::try_from(name.clone()).map_err(|_| TlsSettingsError::ServerName(name))
}

/// Takes any certificate, but still wants the handshake signed with its key.
struct AcceptAny {
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for AcceptAny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AcceptAny")
    }
}

impl ServerCertVerifier for AcceptAny {
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
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host::Name("api.example.com".into())
    }

    #[test]
    fn the_same_settings_share_one_config_and_so_their_sessions() {
        let configs = TlsConfigs::default();
        let settings = TlsSettings { danger_skip_verification: true, ..TlsSettings::default() };
        let one = configs.get(&settings, &host()).unwrap();
        let renamed = TlsSettings { server_name: Some("other.example.com".into()), ..settings.clone() };
        let two = configs.get(&renamed, &host()).unwrap();
        assert!(Arc::ptr_eq(&one.config, &two.config), "the name is no part of a config");
        assert_ne!(one.server_name, two.server_name);
        let newer = TlsSettings { min_version: TlsVersion::V1_3, ..settings };
        assert!(!Arc::ptr_eq(&one.config, &configs.get(&newer, &host()).unwrap().config));
    }

    #[test]
    fn only_http_1_1_is_offered() {
        let settings = TlsSettings { danger_skip_verification: true, ..TlsSettings::default() };
        let tls = TlsConfigs::default().get(&settings, &host()).unwrap();
        assert_eq!(tls.config.alpn_protocols, [b"http/1.1"]);
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, "no PEM at all").unwrap();
        let get = |settings: &TlsSettings| match TlsConfigs::default().get(settings, &host()) {
            Ok(_) => panic!("{settings:?} was accepted"),
            Err(error) => error.to_string(),
        };
        let roots =
            |path: &Path| TlsSettings { roots: Roots::Files(vec![path.into()]), ..TlsSettings::default() };
        assert!(get(&roots(&empty)).contains("empty.pem: no certificate found"), "{}", get(&roots(&empty)));
        assert!(get(&roots(&directory.path().join("absent.pem"))).contains("absent.pem"));
        let bad_name = TlsSettings { server_name: Some("not a name".into()), ..TlsSettings::default() };
        assert_eq!(get(&bad_name), "`not a name` is no server name");
    }
}
