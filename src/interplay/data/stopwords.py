"""Stop words: words that carry too little meaning to be input variables. Dropping them is [lineage], the lists are [ours].

Kept on purpose, because interactions are made of them: negation (not, never, without, don't), intensity (very, too, only,
hardly) and contrast (but, although, unless). Words are compared case-folded, with a straight apostrophe.
"""

from interplay.errors import InterplayError
from interplay.text import split_names

_ENGLISH = """
    a an the this that these those
    i me my mine myself we us our ours ourselves you your yours yourself yourselves
    he him his himself she her hers herself it its itself they them their theirs themselves
    who whom whose which what when where why how there here
    am is are was were be been being do does did doing done have has had having
    will would shall should can could may might must ought
    of at by for from in into on onto to with about as off over under up down out through during between among against
    before after above below upon within along across around near per via than toward towards
    and or if then because while since until also such both each either other another same own
    any some
    i'm i've i'll i'd you're you've you'll you'd he's he'll he'd she's she'll she'd it's it'll it'd
    we're we've we'll we'd they're they've they'll they'd that's that'll there's here's what's who's where's how's let's
    could've would've should've might've must've who've
    im ive youre youve theyre theyve thats
"""

# Most Chinese function words are single characters and fall to the rule on single characters; these are the longer ones.
_CHINESE = """
    我们 你们 他们 她们 它们 咱们 自己 这个 那个 这些 那些 这里 那里 这样 那样 这种 那种 什么 怎么 哪个 哪些 下列 以下 上述 其中
    以及 或者 并且 而且 因为 所以 因此 如果 对于 关于 根据 按照 通过 由于 为了 以后 之后 之前 以前 的话 就是 还是 可是 一个 一种
    之间 其他 其它 有关 某些 各种 及其 于是 然后 同时 另外 此外 例如 比如
"""

# What every Chinese legal question says: how it is put ("which of the following statements is correct"), what an answer looks
# like, and the frame of citing law. Law's own concepts and negation stay. Dropping such words is [paper], the list is [ours].
_LEGAL = """
    下列 以下 上述 下述 关于 说法 表述 叙述 论述 判断 选项 题目 问题 本题 正确 错误 不正确 准确 恰当 符合 属于 不属于 是否 哪些 哪个 哪项
    哪一项 哪几项 哪种 哪一 一项 几项 多项 单项 选择 选择题 单选 多选 单选题 多选题 答案 解析 分析 请问 请你 回答 选出 写出 说明 作出
    根据 依据 依照 按照 规定 有关 相关 法律 法规 法律法规 我国 中国 条款 第一款 第二款 第三款 情形 情况 案例 案件 本案 材料 其中 应当
    可以 进行 认为 如下 如何 对此 予以 作为 知识 运用 给出 格式
"""

# Negation, intensity and contrast in other languages: never function words by their frequency, nor dropped as single characters
# [ours].
_KEPT = """
    不 没 未 无 非 勿 莫 否 很 最 太 更 ず ぬ ん မ
    nicht nichts nie niemals kein keine keinen keiner ohne sehr aber nur ne n'est n'ai n'a n'y pas plus jamais rien sans très trop mais peu
    no nunca nada sin ni muy más menos pero não nem sem muito mais mas non niente mai senza molto più ma niet niets geen nooit zonder zeer
    heel maar inte aldrig utan mycket ikke aldri uden uten meget ei не нет ни без очень никогда но ні дуже але nie bez bardzo ale nigdy
    není velmi nikdy nije nema değil yok çok ama δεν μην όχι πολύ لا لم لن ليس غير جدا नहीं मत बहुत tidak bukan jangan sangat không rất chưa
    안 못 너무 매우 ない なく なかっ ませ なし とても すごく ไม่ อย่า มาก ບໍ່ ຫຼາຍ មិន ទេ ណាស់ ဘူး
"""

ENGLISH = frozenset(_ENGLISH.split())
KEPT = frozenset(_KEPT.split())
CHINESE = frozenset(_CHINESE.split())
STOP_WORDS = ENGLISH | CHINESE
LEGAL = frozenset(_LEGAL.split())


def stop_words(spec: str | None) -> frozenset[str]:
    """The additional stop words that a setting names: None, "legal" (Chinese legal boilerplate), "a,b,c", or "legal,a".

    Errors: InterplayError for a setting without a word in it.

    >>> sorted(stop_words("dog, cat")), stop_words(None), "下列" in stop_words("legal,cat")
    (['cat', 'dog'], frozenset(), True)
    """
    if spec is None:
        return frozenset()
    named = {name.casefold() for name in split_names(spec)}
    if not named:
        raise InterplayError(f"stop words {spec!r} name no word: give legal, words with commas between them, or null")
    return frozenset(named - {"legal"} | LEGAL if "legal" in named else named)
