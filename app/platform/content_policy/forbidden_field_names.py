"""Classifies field names that announce forbidden content, in four languages.

Holds the vocabulary and splits names into words: case, accents, separators and camelCase make no difference.
Only whole words count, so that `interface` is no face and `frame_rate` no frame. Pure.

Deliberately missing: `data`, `name`, `id`, `people`, `count` and the like, which mean nothing alone;
`sprache` (German for a language setting), `cara`, `empreinte` and `kennzeichen` alone, which are ambiguous;
`photo` before another word, for `photodiode`.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final, Literal

type FieldNameClass = Literal["sound", "image", "biometric", "person", "prediction", "camera"]
"""The kind of content that a name announces."""

_SEPARATORS: Final = re.compile(r"[^0-9A-Za-z]+")
_HUMPS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LONGEST: Final = 128
# Letters of other alphabets that look like these, and the dotless i.
_LOOKALIKES: Final = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb\u051b\u0432\u043a\u043c\u043d\u0442"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0406\u0408\u0405"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03b1\u03b9\u03bd\u03bf\u03c1\u0131\u0130",
    "aeopcyxijsdhqbkmhtABEKMHOPCTXIJSABEZHIKMNOPTYXaivopiI",
)
_ESCAPED: Final = re.compile(r"%([0-7][0-9A-Fa-f])|\\u00([0-7][0-9A-Fa-f])|&#x([0-7][0-9A-Fa-f]);")
_MOST_WORDS: Final = 3


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> list[str]:
    return [" ".join(each.split()) for each in text.split(",")]


# A single word that suffices anywhere in a name.
_SOUND: Final = _words(
    """
    audio audios audioclip audiofile audiodata recording recordings enregistrement enregistrements
    aufnahme aufnahmen aufzeichnung aufzeichnungen grabacion grabaciones wav wavs wavfile waveform waveforms
    pcm opus mp3 aac flac ogg voice voices voix stimme stimmen voz voces speech parole paroles habla
    transcript transcripts transcription transcriptions transkript transkripte transkription transcripcion
    tonaufnahme tonaufnahmen sprachaufnahme sprachaufnahmen mikrofonaufnahme audioaufnahme tonspur
    adpcm speex s16le pcm16 utterance utterances conversation conversations gesprach gesprache
    conversacion spectrogram spectrograms
    spectrogramme spektrogramm espectrograma mfcc mfccs cepstrum soundbite soundclip
    """
)
_IMAGE: Final = _words(
    """
    image images img imgs imagen imagenes bild bilder bilddaten picture pictures photo photos photograph
    photographs photographie photographies foto fotos fotografia snapshot snapshots screenshot screenshots
    schnappschuss instantanea thumbnail thumbnails jpeg jpeg2000 jpg png gif webp heic heif
    avif bmp tiff video videos videoclip mp4 mp2 h264 h265 hevc mjpeg mjpg vp9 mkv webm avi rtsp rtsps
    webrtc hls
    keyframe keyframes pixels pixeles base64 b64 blob blobs attachment attachments multimedia
    """
)
_BIOMETRIC: Final = _words(
    """
    face faces faceid faceprint faceprints facial visage visages gesicht gesichter rostro rostros embedding
    embeddings biometric biometrics biometrie biometrique biometriques biometrisch biometrische biometria
    biometrico biometricos biometrica biometricas fingerprint fingerprints fingerabdruck fingerabdrucke
    dactyloscopy iris retina voiceprint voiceprints speaker speakers locuteur locuteurs sprecher hablante
    hablantes gesichtserkennung gesichtserkennungen gait keypoints minutiae minuties reidentification
    emotion emotions gender ethnicity ethnie
    ethnicite etnia mugshot selfie
    """
)
_PERSON: Final = _words(
    """
    plate plates numberplate numberplates licenseplate licenceplate lpr anpr alpr lapi immatriculation
    immatriculations nummernschild nummernschilder kfzkennzeichen matricula matriculas passport passports
    passeport passeports reisepass reisepasse pasaporte pasaportes personid personname
    imei imeis imsi imsis msisdn msisdns bssid bssids ssid ssids phone phones phonenumber telephone
    telephones telefono telefonos telefon telefonnummer handynummer rufnummer surname firstname lastname
    prenom prenoms vorname vornamen nachname nachnamen apellido apellidos birthdate birthday dob geburtsdatum
    ssn suspect suspects suspecte verdachtiger verdachtige sospechoso sospechosos offender offenders criminal
    criminals
    """
)
_CAMERA: Final = _words(
    """
    camera cameras cam cams webcam webcams ipcam ipcams kamera kameras camara camaras cctv ptz onvif vms nvr
    dvr videosurveillance videoprotection videouberwachung videovigilancia pantilt pantiltzoom dashcam bodycam
    """
)
_PREDICTION: Final = _words(
    """
    suspicion recidivism recidive dangerousness dangerosite gefahrlichkeit peligrosidad crime crimes
    criminalite criminality kriminalitat criminalidad
    """
)
# The word alone. Beside others it has another meaning.
_ALONE: Final[dict[str, FieldNameClass]] = {
    **dict.fromkeys(("frame", "frames", "clip", "clips", "stream", "streams"), "image"),
    **dict.fromkeys(("words", "mots", "worter", "palabras", "spoken"), "sound"),
    **dict.fromkeys(("template", "templates", "gabarit", "huella", "huellas"), "biometric"),
    **dict.fromkeys(("preset", "presets"), "camera"),
    **dict.fromkeys(("person", "persons", "citizen", "visitor", "passerby"), "person"),
}
# As above, but not with a number after it: the MAC-10 is a firearm.
_EXACT: Final[dict[str, FieldNameClass]] = {"mac": "person", "macs": "person"}
# Consecutive words anywhere in a name.
_TOGETHER: Final[dict[str, FieldNameClass]] = {
    **dict.fromkeys(
        _phrases(
            """
            sound clip, sound file, sound data, sound sample, sound samples, echantillon sonore,
            key frame, clip url,
            clip id, spoken words, word list, extrait sonore
            """
        ),
        "sound",
    ),
    **dict.fromkeys(
        _phrases(
            """
            frame data, frame bytes, frame buffer, frame url, frame id, raw frame, stream url,
            stream uri, stream id, live stream, media url, media data, media file, image data
            """
        ),
        "image",
    ),
    **dict.fromkeys(
        _phrases(
            """
            reconnaissance faciale, reconocimiento facial, finger print, voice print, face id,
            feature vector, empreinte digitale, empreintes digitales,
            empreinte vocale, huella dactilar, huellas dactilares, skin color, skin colour, age estimate,
            age group, re id, bio template, person template, template data, template id
            """
        ),
        "biometric",
    ),
    **dict.fromkeys(
        _phrases(
            """
            person id, person ids, person name, persons id, person uuid, people id, people ids,
            people names, personen id, persona id, id persona, id personne, personne id, nom personne,
            nom de famille, user id, visitor id, citizen id, subject id, employee id, badge id,
            suspect id, pedestrian id, first name, last name, full name, given name, family name,
            birth date, date of birth, date naissance, date de naissance, fecha nacimiento,
            social security, national id, identity card, carte identite, carte d identite, number plate,
            license plate, licence plate, vehicle id, vehicle registration, plaque immatriculation,
            kfz kennzeichen, auto kennzeichen, mobile number, phone number, numero telephone,
            wifi mac, phone mac, passenger name, numero secu, securite sociale, device mac,
            client mac, station mac, mac hash, mac list, mac address, mac addresses,
            probe request, probe requests, bluetooth address, ble address, advertising id, home address,
            adresse personnelle, track id, trajectory id
            """
        ),
        "person",
    ),
    **dict.fromkeys(("pan tilt", "video surveillance", "video protection", "slew to cue"), "camera"),
    **dict.fromkeys(("predictive policing", "behaviour score", "behavior score"), "prediction"),
}
_JUDGED: Final = _words(
    "risk threat danger crime menace risque bedrohung amenaza riesgo risiko gefahr social person"
)
_JUDGEMENT: Final = _words(
    """
    score scores scoring prediction predictions predicted predictive forecast probability likelihood rating
    prevision vorhersage bewertung prediccion puntuacion
    """
)
_SINGLE: Final[dict[str, FieldNameClass]] = {
    **dict.fromkeys(_SOUND, "sound"),
    **dict.fromkeys(_IMAGE, "image"),
    **dict.fromkeys(_BIOMETRIC, "biometric"),
    **dict.fromkeys(_PERSON, "person"),
    **dict.fromkeys(_PREDICTION, "prediction"),
    **dict.fromkeys(_CAMERA, "camera"),
}
# The same without separators: `licenseplate`, `riskscore`, `imagedata`.
_COMPACT: Final[dict[str, FieldNameClass]] = {
    **{words.replace(" ", ""): kind for words, kind in _TOGETHER.items() if len(words) > 5},  # noqa: PLR2004
    **{judged + judgement: "prediction" for judged in _JUDGED for judgement in _JUDGEMENT},
}
# Prefixes that no harmless name has.
_BEGINNINGS: Final[tuple[tuple[str, FieldNameClass], ...]] = (
    *((each, "camera") for each in ("camera", "kamera", "videosurv", "videoprot", "videouberw", "onvif")),
    *((each, "sound") for each in ("audio", "spectrogram")),
    *((each, "image") for each in ("video", "imagedat", "imagefile", "imageurl", "thumbnail", "snapshot")),
    *(
        (each, "biometric")
        for each in ("biometr", "fingerprint", "voiceprint", "faceimage", "facerec", "facedet", "faceemb")
    ),
    *((each, "person") for each in ("immatricul", "licenseplate", "licenceplate", "macaddr", "numberplate")),
)
# Parts and settings of devices: these words are removed before the rest is classified.
_OF_EQUIPMENT: Final = frozenset(
    _phrases(
        """
        base plate, mounting plate, back plate, wall plate, pressure plate, plate material, firmware image,
        fw image, os image, disk image, docker image, container image, image tag, image version,
        recording interval, recording period, snapshot interval, snapshot period, photo sensor, photo cell,
        face orientation, wall face, north face, south face, east face, west face, face nord, face sud,
        face est, face ouest, led pixels, display pixels
        """
    )
)
_HARMLESS: Final = frozenset({"videoanalytics"})
"""The purpose `video_analytics`: counts and states without persons, once it is approved."""


def split_name_words(name: str) -> tuple[str, ...]:
    """Return the words of a name, in lower case without accents; of its first 128 characters."""
    plain = name[:_LONGEST]
    if "%" in plain or "\\" in plain or "&" in plain:
        plain = _ESCAPED.sub(lambda found: chr(int(found[1] or found[2] or found[3], 16)), plain)
    if not plain.isascii():
        decomposed = unicodedata.normalize("NFKD", plain.translate(_LOOKALIKES)).replace("ß", "ss")
        plain = "".join(each for each in decomposed if not unicodedata.combining(each))
    return tuple(word.lower() for part in _SEPARATORS.split(plain) for word in _HUMPS.findall(part))


@lru_cache(maxsize=8_192)
def classify_field_name(name: str) -> FieldNameClass | None:
    """Return the kind of forbidden content that a field's name announces; None where it announces none."""
    words = _without_equipment(split_name_words(name))
    compact = "".join(words)
    if not words or compact in _HARMLESS:
        return None
    whole = words[0] if len(words) == 1 else None
    bare = compact.rstrip("0123456789")
    found = (
        _EXACT.get(compact)
        or _ALONE.get(bare)
        or _SINGLE.get(compact)
        or _COMPACT.get(bare)
        or next((kind for begin, kind in _BEGINNINGS if compact.startswith(begin)), None)
        or _of_words(words)
    )
    if found is None and whole is None and _JUDGED.intersection(words) and _JUDGEMENT.intersection(words):
        found = _judged(words)
    return found


def _without_equipment(words: tuple[str, ...]) -> tuple[str, ...]:
    for index in range(len(words) - 1):
        if " ".join(words[index : index + 2]) in _OF_EQUIPMENT:
            return _without_equipment((*words[:index], *words[index + 2 :]))
    return words


def _of_words(words: tuple[str, ...]) -> FieldNameClass | None:
    # Splitting at digits breaks `h264` and `mp3`: pairs are also tested as one word.
    for index, word in enumerate(words):
        pair = word + words[index + 1] if index + 1 < len(words) else word
        found = _SINGLE.get(word) or _SINGLE.get(pair) or _COMPACT.get(word)
        if found is not None:
            return found
        for length in range(2, _MOST_WORDS + 1):
            found = _TOGETHER.get(" ".join(words[index : index + length]))
            if found is not None:
                return found
    return None


# Things at risk: a risk of a building or a sensor is no prediction about people.
_OF_THINGS: Final = _words(
    """
    mould mold mites dust virus pollen flood fire frost storm seismic landslide avalanche ice drought
    corrosion condensation comfort air heat noise
    """
)


def _judged(words: tuple[str, ...]) -> FieldNameClass | None:
    return None if _OF_THINGS.intersection(words) else "prediction"
