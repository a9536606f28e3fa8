"""The prompts of tokens.json: hand-written cases first, then seeded mixtures of them.

No prompt holds U+0000 or a lone surrogate: neither can be given on a command line.
"""

import random
import unicodedata

PLAIN = [
    "", " ", "a", "A", "a photograph of an astronaut riding a horse",
    "A PHOTOGRAPH OF AN ASTRONAUT RIDING A HORSE", "a  photograph   of", "  leading and trailing  ",
    "a photo of the number 0123456789", "an oil painting of 1970s New York, 35mm, f/1.8, ISO-400",
    "portrait of a woman, highly detailed, trending on artstation, 8k uhd, octane render",
    "masterpiece, best quality, (red:1.3), [blue], {green}", "greg rutkowski and alphonse mucha",
    "<lora:name:0.8> cat", "a b c d e f g", "e=mc^2", "3.14159265358979", "1,000,000.00 USD",
    "foo_bar-baz/qux\\quux", "user@example.com", "https://example.com/a?b=c&d=e#f", "#hashtag @mention",
    "C++ & C# & F#", "100% wool", "50/50", "1st 2nd 3rd 4th", "iPhone12ProMax", "x86_64", "mp3s",
    "antidisestablishmentarianism", "pneumonoultramicroscopicsilicovolcanoconiosis",
    "supercalifragilisticexpialidocious", "qwrtpsdfghjklzxcvbnm", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "zzzzzzzzzz", "hahahahahahaha", "loooooooool", "in th er on re", "i n", "tench, Tinca tinca",
    "great white shark, white shark, man-eater", "a photo of a daisy", "bad anatomy, blurry, lowres",
]

CONTRACTIONS = [
    "it's", "It's", "IT'S", "don't", "DON'T", "Don'T", "we're", "WE'RE", "I've", "I'VE", "I'm", "I'M",
    "we'll", "WE'LL", "he'd", "HE'D", "'s", "'S", "'t", "'re", "'ve", "'m", "'ll", "'d", "'", "''", "'''",
    "'sss", "'rest", "'verb", "'mouse", "'llama", "'dog", "o'clock", "rock'n'roll", "y'all'd've",
    "it\u2019s", "DON\u2019T", "\u2018quoted\u2019", "\u201cquoted\u201d", "dogs'", "'90s", "'tis", "it 's",
    "it' s", "can't've", "'S'T'RE", "\u02bcs", "l'\u00e9t\u00e9", "d'Artagnan", "O'Brien's cats' toys",
]

SPACES = [
    "a\tb", "a\nb", "a\r\nb", "a\vb", "a\fb", "a\u00a0b", "a\u1680b", "a\u2000b", "a\u2003b", "a\u2009b",
    "a\u200ab", "a\u2028b", "a\u2029b", "a\u202fb", "a\u205fb", "a\u3000b", "a\u0085b", "a\u200bb", "a\u200cb",
    "a\u200db", "a\u2060b", "a\ufeffb", "\ufeffa", "a\u180eb", "\t\n\r \u3000", "\u00a0", "\u200b", "a \u200b b",
    "a\x1cb", "a\x1db", "a\x1eb", "a\x1fb", "word\u00a0\u00a0 word", " \n a \n\n b \n ",
]

CONTROLS = [f"a{chr(code)}b" for code in (1, 2, 7, 8, 14, 27, 0x7F, 0x80, 0x84, 0x86, 0x9F)] + [
    "soft\u00adhyphen", "right\u200eto\u200fleft", "\u202eabc\u202c", "\ufffd", "a\ufffdb", "\ufdd0", "\uffff",
    "\ue000", "\U000f0000", "\U0010ffff", "tag\U000e0041\U000e0042", "\x1b[31mred\x1b[0m",
]

PUNCTUATION = [
    "!", "!!", "!!!", "!!!!!!!!!!", "...", "....", "\u2026", "-", "--", "---", "\u2013", "\u2014", "?!", "?!?!",
    ",,", ";;", "::", "::::", "()", "(())", "[]", "{}", "<>", "</w>", "a</w>", "</w></w>", "|", "||", "&&", "$$$",
    "@@@", "###", "%%%", "^^^", "***", "+++", "===", "~~~", "```", '"""', "\\\\", "//", ":)", ":-)", ":(", ";-)",
    "<3", "xD", "\u00af\\_(\u30c4)_/\u00af", "(\u256f\u00b0\u25a1\u00b0)\u256f\ufe35 \u253b\u2501\u253b", "a.b.c",
    "a,b,c", "wait...what?!", "- - -", "_", "__init__", "\u00a9\u00ae\u2122", "\u20ac5 \u00a35 \u00a55 $5",
    "\u00bd cup",
    "x\u00b2+y\u00b2", "\u2460\u2461\u2462", "\u2160\u2161\u2162", "\u00b1\u00d7\u00f7", "\u2190\u2191\u2192",
    "\u266a\u266b", "\u2603",
]

SPECIALS = [
    "<|endoftext|>", "<|startoftext|>", "a <|endoftext|> b", "a<|endoftext|>b", "<|startoftext|>a cat<|endoftext|>",
    "<|ENDOFTEXT|>", "<|STARTOFTEXT|>", "a<|StartOfText|>b",
    "<|EndOfText|> cat", "<|endoftext", "|endoftext|>", "< |endoftext| >",
    "<|endoftext|><|endoftext|>",
    "<|startoftext|> <|startoftext|>", "cat <|endoftext|>", "<|pad|>", "<s></s>", "[CLS] [SEP] [MASK]",
    "<|endoftext|>!", "!<|endoftext|>", "  <|endoftext|>  ", "it's<|endoftext|>'s",
]

SCRIPTS = [
    "\u00fcber stra\u00dfe STRASSE \u1e9e", "na\u00efve caf\u00e9 r\u00e9sum\u00e9", "\u00c5ngstr\u00f6m \u212b",
    "\u0130stanbul \u0131", "\u01c4 \u01c5 \u01c6",
    "\ufb01ne \ufb02ow \ufb03",
    "\u039f\u0394\u039f\u03a3 \u039f\u03b4\u03cc\u03c2 \u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2", "\u03a3",
    "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac", "\u041f\u0440\u0438\u0432\u0435\u0442 \u041c\u0418\u0420",
    "\u0421\u0430\u043d\u043a\u0442-\u041f\u0435\u0442\u0435\u0440\u0431\u0443\u0440\u0433",
    "\u0567\u0580\u0587\u0561\u0576 \u0535\u0550\u0535\u0552\u0531\u0546",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u05e9\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
    "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f", "\u0661\u0662\u0663\u0664", "\u06f1\u06f2\u06f3",
    "\u0641\u0627\u0631\u0633\u06cc", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
    "\u0967\u0968\u0969",
    "\u09ac\u09be\u0982\u09b2\u09be", "\u0a2a\u0a70\u0a1c\u0a3e\u0a2c\u0a40", "\u0aa8\u0aae\u0ab8\u0acd\u0aa4\u0ac7",
    "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd", "\u0c24\u0c46\u0c32\u0c41\u0c17\u0c41", "\u0c95\u0ca8\u0ccd\u0ca8\u0ca1",
    "\u0d2e\u0d32\u0d2f\u0d3e\u0d33\u0d02", "\u0dc3\u0dd2\u0d82\u0dc4\u0dbd",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a", "\u0eaa\u0eb0\u0e9a\u0eb2\u0e8d\u0e94\u0eb5",
    "\u0f56\u0f7c\u0f51\u0f0b\u0f66\u0f90\u0f51", "\u1019\u103c\u1014\u103a\u1019\u102c",
    "\u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8 \u1c9b\u1c97", "\u12a0\u121b\u122d\u129b",
    "\u13e3\u13b3\u13a9 \uab70",
    "\u1780\u1798\u17d2\u1796\u17bb\u1787\u17b6", "\u1820\u182f\u1823", "\u6211\u7231\u5317\u4eac\u5929\u5b89\u95e8",
    "\u4e00\u53ea\u732b\uff0c\u9ad8\u6e05\uff01", "\u7e41\u9ad4\u4e2d\u6587",
    "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c", "\u30ab\u30bf\u30ab\u30ca \uff76\uff80\uff76\uff85",
    "\u304c \u304b\u3099", "\u30d1\u30d2\u309a", "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4",
    "\u1112\u1161\u11ab\u1100\u1173\u11af", "\uff21\uff22\uff23\uff11\uff12\uff13\uff01", "\U00020000\U0002a6d6",
    "\U0001d400\U0001d401 \U0001d7d8", "\U00010400\U00010428",
    "\U0001f130\U0001f170", "\u2167 \u00aa \u00ba", "\u216b\u217b", "Vi\u1ec7t Nam Ti\u1ebfng Vi\u1ec7t",
    "\u0141\u00f3d\u017a \u017b\u00f3\u0142\u0107", "\u010ce\u0161tina \u0158eka", "\u00deingvellir \u00d0 \u00c6",
    "\u0218\u021a \u015e\u0162", "\u0149 \u01f0 \u0390", "\u1f80\u1f88 \u1fb3\u1fbc", "\u2126 \u03a9", "\u212a k",
    "\u2c00\u2c30", "\ua640\ua641", "\u1e00\u1e01",
    "\ud55c\uad6d\uc5b4 English \u6df7\u5408 \u0442\u0435\u043a\u0441\u0442",
    "\u2c6f\u0250", "\U00010330\U00010331", "\U00012000", "\U0001e900\U0001e922", "\u4e03\u516b9\u5341",
    "a\u0661b\u0967c\uff11",
]

COMBINING = [
    "e\u0301", "\u00e9", "A\u030a", "\u00c5", "o\u0302\u0323", "o\u0323\u0302", "\u1ed9", "n\u0303o", "\u0301",
    " \u0301", "a\u0301\u0302\u0303\u0304\u0305",
    "z\u0335a\u0336l\u0337g\u0338o\u0334", "\u0344", "\u0958", "\u0915\u093c", "\u0f73", "\u2adc",
    "\u0340 \u0341 \u0343", "\uf900", "\ufa0e \ufa10",
    "\U0002f800", "q\u0307\u0323", "q\u0323\u0307", "i\u0307", "I\u0307", "\u0130", "\u1e9b\u0323",
    "\uac00 \u1100\u1161", "\u0374 \u037e \u0387",
]

EMOJI = [
    "\U0001f600", "\U0001f600\U0001f600", "cat \U0001f431", "\U0001f431cat", "\u2764", "\u2764\ufe0f",
    "\u2764\ufe0f\u200d\U0001f525", "\U0001f44d\U0001f3fd",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f469\u200d\U0001f680", "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7",
    "1\ufe0f\u20e3 #\ufe0f\u20e3", "\u263a\ufe0f \u263a\ufe0e", "\U0001f9d1\U0001f3ff\u200d\U0001f9b0",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "\u2728\U0001f31f\u2b50", "it's \U0001f525\U0001f525\U0001f525!!!", "\U0001f408\u200d\u2b1b",
    "\U0001f937\u200d\u2640\ufe0f", "\U0001f574\ufe0f\U0001f3fb", "a\U0001f600b\U0001f600c", "\U0001fae0 \U0001f979",
]

LONG = [
    "cat " * 74, "cat " * 75, "cat " * 76, "cat " * 77, "cat " * 200, "a" * 500, "\U0001f600" * 30, "\u6587" * 60,
    "1234567890" * 8, "1" * 75, "1" * 76, "! " * 80, "!" * 300, "it's " * 40, "<|endoftext|>" * 80,
    " ".join(f"word{i}" for i in range(60)), "cat " * 74 + "\U0001f600", "cat " * 74 + "antidisestablishmentarianism",
    "cat " * 74 + "dog's", "x" * 76, "\u00e9" * 90, " " * 300, "a " + " " * 300 + " b",
    ", ".join(PLAIN[4:20]), ("a " * 75).strip() + "<|endoftext|>",
]

FIXED = PLAIN + CONTRACTIONS + SPACES + CONTROLS + PUNCTUATION + SPECIALS + SCRIPTS + COMBINING + EMOJI + LONG

NOUNS = "cat dog castle forest robot ship dragon violin teapot lighthouse samurai astronaut orchid goldfish".split()
STYLES = ["oil on canvas", "pixel art", "35mm photograph", "ukiyo-e", "by Vincent van Gogh", "3D render", "line-art"]


def mixed(rng):
    """A few fixed cases glued together by white space of several kinds, or by nothing."""
    parts = [rng.choice(FIXED[: -len(LONG)]) for _ in range(rng.randint(2, 6))]
    glue = ["", " ", "  ", "\t", "\n", "\u3000", ", ", "-", "'s "]
    return "".join(part + rng.choice(glue) for part in parts)


def scattered(rng):
    """Code points from the whole of Unicode 3.2 (old enough to be the same in every library)."""
    points = []
    while len(points) < rng.randint(3, 14):
        ranges = [(1, 0x7F), (0x80, 0x24F), (1, 0x2FFF), (1, 0x2FFFF)]
        code = rng.choice([rng.randint(*bounds) for bounds in ranges])
        if not 0xD800 <= code <= 0xDFFF and unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Cs"):
            points.append(chr(code))
    return "".join(points)


def everyday(rng):
    """The kind of prompt that people write."""
    text = f"a {rng.choice(STYLES)} of a {rng.choice(NOUNS)} and {rng.randint(2, 120)} {rng.choice(NOUNS)}s"
    tail = rng.choice(["", ", 4k", "!!", " -- it's great", " (cinematic:1.2)", ", trending on ArtStation", "."])
    return rng.choice([str, str.upper, str.title])(text + tail)


def all_prompts():
    """The whole list, without repeats, in a fixed order."""
    rng = random.Random(1)
    drawn = [make(rng) for make in (mixed, scattered, everyday) for _ in range(120)]
    return list(dict.fromkeys(FIXED + drawn))


def reduced_prompts():
    """Fifty prompts for the small vocabularies of the models under models/."""
    step = len(FIXED) // 40
    return list(dict.fromkeys(PLAIN[:5] + CONTRACTIONS[:5] + FIXED[10::step]))[:50]
