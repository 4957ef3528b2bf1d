"""Words that carry too little meaning to be input variables: two small lists of our own.

Data only: `words.py` decides what to do with it. Dropping stop words is [lineage]; which words are dropped is [ours]: function
words that only hold a sentence together. KEPT on purpose, because interactions are made of them: negation (not, no, never,
nor, nothing, without, don't, can't, ...), intensity and degree (very, so, too, really, quite, more, most, only, hardly,
barely, ...) and contrast (but, yet, though, although, however, unless, except). Contractions of a pronoun (I'm, it's, they've) are
dropped with their pronoun. Compare case-folded, with a straight apostrophe.
"""

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

ENGLISH = frozenset(_ENGLISH.split())
CHINESE = frozenset(_CHINESE.split())

# One-character words are dropped except these: Chinese negation and intensity are written with a single character [ours].
CHINESE_SINGLES_KEPT = frozenset("不没未无非勿莫否很最太更")
