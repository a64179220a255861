"""How large the known backbones are; read without importing Keras."""

# (backbone, alpha) -> parameters without the top, as keras.applications builds them. A weights file is
# recognised by this count, so its name does not matter and a wrong file is refused before it is loaded.
PARAMETERS: dict[tuple[str, float], int] = {
    ("MobileNet", 0.25): 218_544,
    ("MobileNet", 0.5): 829_536,
    ("MobileNet", 0.75): 1_832_976,
    ("MobileNet", 1.0): 3_228_864,
    ("MobileNetV2", 0.35): 410_208,
    ("MobileNetV2", 0.5): 706_224,
    ("MobileNetV2", 0.75): 1_382_064,
    ("MobileNetV2", 1.0): 2_257_984,
    ("MobileNetV2", 1.3): 3_766_048,
    ("MobileNetV2", 1.4): 4_363_712,
    ("MobileNetV3Small", 0.75): 583_160,
    ("MobileNetV3Small", 1.0): 939_120,
    ("MobileNetV3Large", 0.75): 1_808_736,
    ("MobileNetV3Large", 1.0): 2_996_352,
}
