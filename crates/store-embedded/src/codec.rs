//! How events stand in `payload`: a codec byte, then the wire form, raw or compressed.

use std::cell::RefCell;

use bytes::Bytes;
use heliograph_protocol::Event;
use zstd::{
    dict::{DecoderDictionary, EncoderDictionary},
    zstd_safe::DCtx,
};

use crate::{
    error::Fault,
    layout::{CODEC_EXPIRES, CODEC_ZSTD},
    overlay::expires,
};

/// Events from which a dictionary is trained.
pub(crate) const TRAINING_EVENTS: usize = 5_000;
/// Bytes of a trained dictionary.
const DICTIONARY_BYTES: usize = 64 << 10;
/// zstd's level. The third takes a twentieth more of an import and saves a hundredth of the file.
const LEVEL: i32 = 1;
/// Bytes of one decompressed event at most: damaged data must not claim more.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// Compresses with the store's dictionary, once it has one.
pub(crate) struct Codec {
    dictionaries: Option<(EncoderDictionary<'static>, DecoderDictionary<'static>)>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec")
            .field("dictionary", &self.dictionaries.is_some())
            .finish()
    }
}

impl Codec {
    pub(crate) fn new(dictionary: Option<&[u8]>) -> Self {
        let dictionaries = dictionary.map(|bytes| {
            (
                EncoderDictionary::copy(bytes, LEVEL),
                DecoderDictionary::copy(bytes),
            )
        });
        Self { dictionaries }
    }

    /// Whether events are compressed.
    pub(crate) fn has_dictionary(&self) -> bool {
        self.dictionaries.is_some()
    }

    /// Something that encodes a batch.
    pub(crate) fn encoder(&self) -> Encoder<'_> {
        let compressor = self.dictionaries.as_ref().and_then(|(encoder, _decoder)| {
            zstd::bulk::Compressor::with_prepared_dictionary(encoder).ok()
        });
        Encoder { compressor }
    }

    /// Something that decodes a page.
    pub(crate) fn decoder(&self) -> Decoder<'_> {
        Decoder { codec: self }
    }
}

/// Trains a dictionary, if the events are enough for one.
pub(crate) fn train(samples: &[Bytes]) -> Option<Vec<u8>> {
    zstd::dict::from_samples(samples, DICTIONARY_BYTES).ok()
}

pub(crate) struct Encoder<'a> {
    compressor: Option<zstd::bulk::Compressor<'a>>,
}

impl Encoder<'_> {
    pub(crate) fn encode(&mut self, event: &Event) -> Vec<u8> {
        let flags = if expires(event).is_some() {
            CODEC_EXPIRES
        } else {
            0
        };
        let packed = self
            .compressor
            .as_mut()
            .and_then(|packer| packer.compress(event.json()).ok());
        let (codec, text) = match &packed {
            Some(packed) if packed.len() < event.json().len() => (CODEC_ZSTD, packed.as_slice()),
            _ => (0, &event.json()[..]),
        };
        let mut value = Vec::with_capacity(text.len() + 1);
        value.push(codec | flags);
        value.extend_from_slice(text);
        value
    }
}

pub(crate) struct Decoder<'a> {
    codec: &'a Codec,
}

/// An event out of the database.
pub(crate) struct Decoded {
    pub(crate) event: Event,
    /// Whether it has an end.
    pub(crate) expires: bool,
}

impl Decoder<'_> {
    pub(crate) fn decode(&self, value: &[u8]) -> Result<Decoded, Fault> {
        let (codec, text) = value.split_first().ok_or(Fault::Corrupt("empty payload"))?;
        let json = match codec & !CODEC_EXPIRES {
            0 => Bytes::copy_from_slice(text),
            CODEC_ZSTD => self.unpack(text)?,
            _ => return Err(Fault::Corrupt("unknown codec")),
        };
        let event = Event::from_wire(json).map_err(|_wire| Fault::Corrupt("payload"))?;
        Ok(Decoded {
            event,
            expires: codec & CODEC_EXPIRES != 0,
        })
    }

    fn unpack(&self, text: &[u8]) -> Result<Bytes, Fault> {
        let dictionaries = self.codec.dictionaries.as_ref();
        let (_encoder, dictionary) = dictionaries.ok_or(Fault::Corrupt("no dictionary"))?;
        let size = zstd::zstd_safe::get_frame_content_size(text).ok().flatten();
        let size = size.and_then(|size| usize::try_from(size).ok());
        let size = size.filter(|size| *size <= EVENT_BYTES_MAX);
        let mut json = Vec::with_capacity(size.ok_or(Fault::Corrupt("compressed payload"))?);
        let unpacked = CONTEXT.with_borrow_mut(|context| {
            context.decompress_using_ddict(&mut json, text, dictionary.as_ddict())
        });
        unpacked.map_err(|_code| Fault::Corrupt("compressed payload"))?;
        Ok(Bytes::from(json))
    }
}

thread_local! {
    /// Making one costs several times what decompressing an event does.
    static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}
