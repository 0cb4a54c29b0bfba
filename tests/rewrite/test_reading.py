"""From what chat models reply to the rewrite in it: wrappers by hand, after public model cards and chat templates."""

from __future__ import annotations

import pytest

from laclip_aug.generation.backend import Completion, Job
from laclip_aug.rewrite.reading import read
from laclip_aug.rewrite.reply import Acceptance

PAIRS = {
    "a woman in a blue coat waits for the tram": "Waiting for the tram is a woman in a blue coat",
    "three horses graze beside a wooden fence": "Beside a fence of wood, three horses are grazing.",
    "view over the old town from the castle hill": "The old town, seen from the hill of the castle",
}


def judged(caption: str, reply: str, finish: str = "stop", allow: tuple[str, ...] = ()) -> tuple[str, str | None]:
    job = Job("", "", caption, "", seed=1, chat=True)
    return Acceptance(allow).judge(Completion(job, reply, finish, 9))  # type: ignore[arg-type]


WRAPPERS = [
    # nothing, and white space
    "{}", "\n\n{}\n\n", "\r\n{}\r\n", "\t{}", "\u200b{}\u200b", "\ufeff{}", "  \u2028{}",
    # quotes
    '"{}"', "'{}'", "“{}”", "„{}“", "„{}”", "«{}»", "« {} »", "»{}«", "‹{}›", "「{}」", "『{}』", "`{}`", "``{}''",
    '"“{}”"', "'\"{}\"'", '"{}".', "“{}”.", '"{}', '{}"', "({})", "[{}]", "＂{}＂",
    # Markdown
    "**{}**", "*{}*", "_{}_", "__{}__", "***{}***", "~~{}~~", "**{}", '**"{}"**', "# {}", "### {}", "> {}", "> > {}",
    "> **{}**", "## Rewritten caption\n\n{}", "**Rewritten caption**\n\n{}", "---\n{}\n---", "***\n\n{}\n\n***",
    "| Original | Rewrite |\n|---|---|\n| {caption} | {} |", "| Rewrite |\n| :--- |\n| {} |", "==={}===",
    # lists
    "- {}", "* {}", "• {}", "– {}", "+ {}", "1. {}", "1) {}", "(1) {}", "a) {}", "A. {}", "i. {}", "1️⃣ {}", "① {}",
    "→ {}",
    "✅ {}", "- **{}**", '1. "{}"', "1. **{}**\n2. **Something else**", "[1] {}", "1.\n{}",
    "Option 1: {}\nOption 2: other",
    "1. {}\n\n2. {caption}, once more\n\n3. And so on", "- {}\n- another way to put it",
    # labels
    "Rewrite: {}", "Rewritten: {}", "New caption: {}", "CAPTION: {}", "Caption - {}", "Rewrite — {}", "**Answer:** {}",
    "**Answer**: {}", "Rewrite → {}", "Rewrite -> {}", "Answer = {}", "Caption => {}",
    "*Rewrite*: {}", "`rewrite`: {}", "Output: \"{}\"", "Final answer: {}", "Final Rewrite:\n{}",
    "Vivid version (under 30 words): {}", "assistant: {}", "Assistant:\n{}", "assistant\n{}", "ASSISTANT\n\n{}",
    "AI: {}", "model\n{}", "Bot: {}", "[Rewrite] {}", "[assistant]: {}", "(rewrite) {}", "<rewrite> {}",
    "Rewrite 2: {}",
    "Légende réécrite : {}", "Neue Bildunterschrift: {}", "改写：{}", "Переписанная подпись: {}", "वर्णन: {}",
    "rewrite: {}", 'rewrite: "{}"', "rewrite: |\n  {}", "rewrite: >-\n  {}", "---\nrewrite: {}\n...", 'rewrite = "{}"',
    # preambles
    "Sure! {}", "Sure.\n\n{}", "Certainly! Here you go:\n\n{}", "Of course. Here is the new caption: {}",
    "Absolutely!\n{}",
    "Here is one way to put it:\n\n{}", "Here's a vivid rewrite in less than thirty words:\n\n\"{}\"", "Got it. {}",
    "A possible rewrite would be:\n{}", "Below is the rewritten caption.\n\n{}",
    "The caption can be rewritten as follows:\n{}",
    'You could say "{}"', 'The rewritten caption is "{}".', "Voici une nouvelle légende :\n\n{}",
    "好的，这是改写后的标题：\n\n{}",
    "Claro, aquí tienes: {}", "Gern! Hier ist die neue Fassung:\n{}", "Thinking about it, here goes:\n\n{}",
    'Here is a rewrite of "{caption}":\n\n{}', "Original: {caption}\nRewrite: {}",
    "Caption: {caption}\n\nRewritten: {}",
    "{caption} → {}", "Original: {caption}. Rewritten: {}", "I have rewritten the caption for you:\n\n{}",
    # remarks behind
    "{}\n\nLet me know if you need another one!", "{} (Word count: 9)", "{} (9 words)", "{} [9 words]",
    "{}\n\n(9 words)",
    "{}\n\nNote: I kept all names.", "{}\nNote: no facts were added.", "{}\n\n**Note:** nothing was added.",
    "{} *(rewritten)*",
    "{}\n---\nThis version keeps the meaning.", "{} --- I hope it is fine", "{}\n\nWould you like a shorter one?",
    "{}\n\n😊",
    "{}\n\nExplanation: The original wording was changed.", "{}\n\n* kept names\n* kept colours",
    "{} #art #photography",
    "{}\n\n#nature #outdoors", "{} (rephrased)", "{}\n\nI hope this helps! 😊", "{}\n\nOr: something else",
    "{}\n\n{caption}",
    "{}\n\nOriginal: {caption}", "{}\n\nExplication : j'ai gardé le sens.", "{}\n\n[Note: no names were changed]",
    # thoughts
    "<think>Short.</think>{}", "<think>\nFirst \"{caption}\".\nThen another?\n</think>\n\n{}",
    "<thinking>hm</thinking>\n{}",
    "<thought>\nhm\n</thought>\n{}", "<reasoning>\nThe caption is {caption}.\n</reasoning>\n\n{}", "</think>{}",
    "hm hm\n</thinking>\n{}",
    "<reflection>x</reflection>{}", "[THINK]The user wants.[/THINK]{}", "[think]x[/think]\n{}",
    "◁think▷The user.◁/think▷{}",
    "<|think|>x<|/think|>{}", "<|thinking|>x<|/thinking|>\n{}", "<seed:think>x</seed:think>{}",
    "<Thought>x</Thought> {}",
    "<scratchpad>\n1. {caption}\n2. reorder\n</scratchpad>\n{}", "<inner_monologue>x</inner_monologue>\n{}",
    "<think>a</think>\n<think>b</think>\n{}", "<think>a <think>b</think> c</think>\n{}",
    "<analysis>x</analysis><answer>{}</answer>",
    "<reasoning>x</reasoning>\n<rewrite>\n{}\n</rewrite>",
    "<|begin_of_thought|>x<|end_of_thought|><|begin_of_solution|>{}<|end_of_solution|>",
    "<|START_THINKING|>x<|END_THINKING|><|START_RESPONSE|>{}<|END_RESPONSE|>", "<think>\n</think>\n\n**{}**",
    "<|channel|>analysis<|message|>So {caption}.<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>",
    "<|channel|>final<|message|>{}<|return|>", "analysisThe user wants a rewrite.assistantfinal{}",
    "<|channel>thought\nhm<channel|>{}",
    "<unused94>thought\nhm<unused95>{}", "{{thinking}}x{{/thinking}}{}",
    # special tokens
    "{}<|im_end|>", "{}<|eot_id|>", "{}<|endoftext|>", "{}</s>", "{}<eos>", "{}<end_of_turn>", "{}<|return|>",
    "{}[/INST]",
    "{} <|end|>", "{}<｜end▁of▁sentence｜>", "{}<|end_of_text|>", "{}<|end_of_turn|>", "{}[|endofturn|]",
    "{}<end_of_utterance>",
    "{}<|im_end|>\n<|im_start|>user\nthanks", "<|im_start|>assistant\n{}<|im_end|>", "<s> {} </s>", "{}<pad><pad>",
    "{}[EOS]",
    "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>", "<start_of_turn>model\n{}<end_of_turn>",
    "[INST] {} [/INST]",
    "<|assistant|>\n{}", "<｜Assistant｜>{}<｜end▁of▁sentence｜>", "{}<|eom_id|>", "{} [END]",
    "{}<|END_OF_TURN_TOKEN|>",
    "{}<turn|>",
    "<bos>{}", "{}</answer>", "{}<|user|>\nmore", "{}<0x0A>", "{}<extra_id_0>",
    # formats
    "```\n{}\n```", "```text\n{}\n```", "```{}```", "Here:\n```\n{}\n```\nDone.", "~~~\n{}\n~~~",
    "```markdown\n**{}**\n```",
    '{{"rewritten_caption": "{}"}}', '{{"text": "{}"}}', "{{'output': '{}'}}",
    '{{"original": "{caption}", "new": "{}"}}',
    '```json\n{{\n  "result": "{}"\n}}\n```', '["{}"]', '[{{"caption": "{}"}}]', '{{"rewrite": "{}",}}',
    '{{"rewrite": "{}"',
    'Here is the JSON:\n{{"rewrite": "{}"}}', '{{"data": {{"rewrite": "{}"}}}}', '{{"rewrites": ["{}", "other"]}}',
    '{{rewrite: "{}"}}',
    "<rewrite>{}</rewrite>", "<new_caption>\n{}\n</new_caption>", '<caption lang="en">{}</caption>', "<p>{}</p>",
    "<b>{}</b>",
    "<p><strong>{}</strong></p>", "Sure! <output>{}</output> Anything else?", "<Rewrite>{}", "{}</caption>",
    "[rewrite]{}[/rewrite]",
    "<explanation>kept {caption}</explanation><rewrite>{}</rewrite>", "<response><text>{}</text></response>",
    "<br>{}<br/>",
    "<original>{caption}</original>\n<rewritten>{}</rewritten>", "<answer>{}", "&lt;caption&gt;{}&lt;/caption&gt;",
    "&quot;{}&quot;",
    "\\boxed{{{}}}", "$\\boxed{{\\text{{{}}}}}$", "\\text{{{}}}", "\\textbf{{{}}}", "$$\\boxed{{{}}}$$",
    "\\[ \\boxed{{\\text{{{}}}}} \\]",
    "The final answer is $\\boxed{{\\text{{{}}}}}$.", "\\n\\n{}", "{}\\n", "\\n{}\\n\\nHope it helps", '\\"{}\\"',
    '"\\n{}\\n"', "{}\\n\\nNote: x",
    # who speaks, in the ways of prompts and transcripts
    "Bot> {}", "rewrite> {}", "Llama-3.1 > {}", "@assistant {}", "### Response\n{}", "### Response: {}",
    "### Instruction:\n{caption}\n\n### Response:\n{}", "GPT4 Correct Assistant: {}", "USER: {caption} ASSISTANT: {}",
    "[|assistant|]{}[|endofturn|]", "<s>[INST] Rewrite: {caption} [/INST] {}</s>", "Q: {caption}\nA: {}",
    "<|im_start|>user\nRewrite {caption}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>", "Human: go\nAssistant: {}",
    "{}\n### Human: another", "<|thinking|>x</|thinking|>{}",
    # the way of in-context examples
    "{caption} => {}", "=> {}", "caption => {}", "{caption} ==> {}",
    # decoration
    "✨ {} ✨", "🐴 {}", "{} 🌄📷", "📝 **Rewrite:** {} ✅", "~ {} ~", "★ {} ★", "{} ❤️",
]  # fmt: skip


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("caption", PAIRS)
def test_wrappers_go(caption: str, wrapper: str) -> None:
    text = PAIRS[caption]
    got, reason = judged(caption, wrapper.format(text, caption=caption))
    assert (got.rstrip("."), reason) == (text.rstrip("."), None)


KEPT = [
    ("Title: a portrait of a king", "Title: the portrait of a king"),
    ("NYC: the skyline at night", "NYC: a skyline by night"),
    ("The Hobbit: An Unexpected Journey poster", "Poster of The Hobbit: An Unexpected Journey"),
    ("train at 5:30 in the station", "In the station, the train of 5:30"),
    ('"Stop" sign on a road', 'A road with a "Stop" sign'),
    ('a mug that says "best dad"', '"Best dad" is what the mug says'),
    ("'Tis the season banner", "A banner says 'Tis the season"),
    ("the dogs' bowls on the floor", "On the floor are the dogs' bowls"),
    ('a 12" pizza on a plate', 'On a plate, a pizza of 12"'),
    ("house (built 1901) on a hill", "On a hill, a house (built 1901)"),
    ("dress [red] by a tailor", "A tailor's dress [red]"),
    ("<PERSON> sings on stage", "On the stage, <PERSON> sings"),
    ("photo of <PERSON> and <PERSON> at a gala", "At a gala: <PERSON> and <PERSON>"),
    ("1. FC Union players cheer", "1. FC Union players are cheering"),
    ("10. a list of beaches", "10. A beach list"),
    ("I'm sorry card with flowers", "A card with flowers says I'm sorry"),
    ("I love New York t-shirt", "T-shirt: I love New York"),
    ("what is a quokka? an infographic", "An infographic: what is a quokka?"),
    ("sale! 50% off shoes", "Shoes are 50% off in a sale!"),
    ("a robot {model X} walks", "Walking robot {model X}"),
    ("5* hotel by the sea", "By the sea, a hotel with 5* rating"),
    ("#1 fan of the team", "#1 fan of a team"),
    ("C:\\new\\table shown on a screen", "A screen that shows C:\\new\\table"),
    ("x_train and y_train plotted", "A plot of x_train and y_train"),
    ("the caption contest winner", "Winner of the caption contest"),
    ("a word cloud about rewriting", "A cloud of words about rewriting"),
    ("two dogs - one sleeps", "Two dogs - one is asleep"),
    ("I ❤ coffee mug", "A mug: I ❤ coffee"),
    ("tea & coffee &amp; cake", "Cake, tea & coffee"),
    ("a dog runs. A cat sleeps.", "A cat sleeps. A dog is running."),
    ("the letter A. in gold", "In gold, the letter A."),
    ("R2-D2 and C-3PO in a desert", "In a desert stand R2-D2 and C-3PO"),
    ("man reading <<War & Peace>>", "A reader of <<War & Peace>> is a man"),
    ("Home > Shop > red shoes", "Shop > red shoes, at home"),
    ("by @anna: a red kite", "@anna has a red kite"),
    ("U.S. flag on a pole", "On a pole is the flag of the U.S."),
    ("Dr. Who scarf in wool", "A wool scarf of Dr. Who"),
    ("一只狗在海滩上奔跑", "海滩上有一只狗在跑"),
    ("犬が浜辺を走る", "浜辺を走る犬"),
    ("สุนัขวิ่งบนชายหาด", "บนชายหาดมีสุนัขวิ่ง"),
    ("собака бежит по пляжу", "По пляжу бегает собака"),
    ("un perro corre por la playa", "Por la playa va corriendo un perro"),
    ("سگ در ساحل می‌دود", "در ساحل سگی می‌دود"),
    ("please do not feed the ducks sign", "A sign: please do not feed the ducks"),
]


@pytest.mark.parametrize(("caption", "text"), KEPT)
def test_what_the_caption_has_stays(caption: str, text: str) -> None:
    assert judged(caption, text) == (text, None)


@pytest.mark.parametrize(
    ("caption", "reply", "text"),
    [
        ("Title: a portrait of a king", "Rewrite: Title: the portrait of a king", "Title: the portrait of a king"),
        ('"Stop" sign on a road', '"A road with a "Stop" sign"', 'A road with a "Stop" sign'),
        ('a mug that says "best dad"', 'Caption: "“Best dad” is on a mug"', "“Best dad” is on a mug"),
        (
            "<PERSON> sings on stage",
            "<caption><PERSON> is singing on a stage</caption>",
            "<PERSON> is singing on a stage",
        ),
        ("<PERSON> sings on stage", "On a stage <PERSON> is singing</s>", "On a stage <PERSON> is singing"),
        ("1. FC Union players cheer", "1. 1. FC Union players are cheering", "1. FC Union players are cheering"),
        ("I'm sorry card", "Sure! A card that says I'm sorry", "A card that says I'm sorry"),
        ("house (built 1901)", "The house (built 1901) (6 words)", "The house (built 1901)"),
        ("a robot {model X} walks", '{"rewrite": "Walking robot {model X}"}', "Walking robot {model X}"),
        ("a red kite", "A **red** kite in *flight*", "A red kite in flight"),
        ("a red kite in the sky", "A <b>red</b> kite flies in the <i>sky</i>", "A red kite flies in the sky"),
        ("two kites in a park", "In a park 🌳 two 🪁 kites", "In a park two kites"),
        ("a long day by the river", "By the river, the day\nis long", "By the river, the day is long"),
        ("the dog's bowl", "'The bowl of the dog's on the floor'", "The bowl of the dog's on the floor"),
        ("a dog on a sofa", "A puppy lies on a couch.", "A puppy lies on a couch."),
        ("一只狗在海滩上奔跑", "好的，改写如下：\n\n「海滩上有一只狗在跑」", "海滩上有一只狗在跑"),
        ("犬が浜辺を走る", "書き換え：浜辺を走る犬", "浜辺を走る犬"),
        ("a cat on a mat", "On the beach: nothing.\nA mat with a cat", "A mat with a cat"),
        ("tea &amp; cake", "&quot;Cake and tea&quot;", "Cake and tea"),
        ("एक लाल पतंग आसमान में", "आसमान में एक <b>लाल</b> पतंग उड़ती है", "आसमान में एक लाल पतंग उड़ती है"),
        ("एक लाल पतंग आसमान में", "आसमान में लाल पतंग उड़ती है #पतंग #आसमान", "आसमान में लाल पतंग उड़ती है"),
    ],
)
def test_wrappers_go_from_captions_that_look_like_them(caption: str, reply: str, text: str) -> None:
    assert judged(caption, reply) == (text, None)


@pytest.mark.parametrize(
    ("reason", "reply"),
    [
        ("empty", ""),
        ("empty", "<think>\nA tram. A woman. Hm"),
        ("empty", "<think>so the woman waits</think>"),
        ("empty", "[THINK]The woman in the coat waits for a tram"),
        ("empty", "<|channel|>analysis<|message|>The user wants a woman in a blue coat"),
        ("empty", "<reasoning>a woman in a blue coat"),
        ("unrelated", "I'm sorry, but I can't help with that."),
        ("unrelated", "As an AI, I cannot view images."),
        ("unrelated", "Lo siento, no puedo ayudar con esa solicitud."),
        ("unrelated", "抱歉，我无法完成这个请求。"),
        ("unrelated", "Je ne peux pas répondre à cette demande."),
        ("unrelated", "Please share the caption."),
        ("unrelated", "The request was rejected by the content filter"),
        ("unrelated", "A man mows the lawn with a mower"),
        ("spoken", "I cannot describe a woman in a coat."),
        ("spoken", "Could you tell me more about the woman in the blue coat?"),
        ("spoken", "Please let me know which woman in a blue coat you mean"),
        ("echo", "A woman in a blue coat waits for the tram."),
        ("echo", "**Rewrite:** a woman in a blue coat waits for the tram"),
        ("too-short", "Sure!"),
        ("wrapped", "A woman in a blue coat {waits} for the tram"),
        ("wrapped", "A woman in a blue <mask> waits for the tram"),
        ("wrapped", "The woman in the blue coat waits for [vehicle]"),
    ],
)
def test_what_is_no_rewrite_is_rejected_by_name(reason: str, reply: str) -> None:
    got = judged("a woman in a blue coat waits for the tram", reply)
    assert got[1] == reason or (reason == "unrelated" and got[1] in ("spoken", "unrelated")), got


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("The tram is what a woman in a blue coat waits for\n\nNote: I kept the", None),
        ("Sure:\n\nThe tram is what a woman in a blue coat waits", "cut"),
        ("<think>The user wants the tram", "empty"),
        ("The tram is what a woman in a blue coat waits for. I kept the", None),
        ("<think>Short.</think>The tram is what a woman in a blue coat waits", "cut"),
        ("The tram is what a woman in a blue coat waits for\n", "cut"),
    ],
)
def test_the_limit_matters_where_it_hits_the_rewrite(reply: str, reason: str | None) -> None:
    assert judged("a woman in a blue coat waits for the tram", reply, "length")[1] == reason


def test_hostile_replies_end() -> None:
    """No pattern takes long: each of these is read in well under a second."""
    for reply in ("<" * 20_000, "[" * 20_000, "{" * 20_000, '"' * 20_000, "(" * 20_000, "<a>" * 5_000, "a: " * 5_000):
        read(reply, "a dog")
    for reply in ("* " * 10_000, "\\text{" * 5_000, "<think>" * 3_000, "a. " * 5_000, "`" * 20_000, "\ud800\0" * 5000):
        read(reply, "a dog")


IN_OTHER_SCRIPTS = [
    # a caption, a rewrite of it, and a refusal that shares its function words only
    ("एक कुत्ता समुद्र तट पर दौड़ रहा है", "समुद्र तट पर एक कुत्ता दौड़ता है",
     "यह नियम है, मैं इस पर मदद नहीं कर सकता"),
    ("كلب يركض على الشاطئ", "على الشاطئ يركض كلب",
     "عذراً، لا أستطيع المساعدة في هذا الطلب على الإطلاق"),
    ("পথে একটি কুকুর দৌড়াচ্ছে", "একটি কুকুর পথে দৌড়ায়",
     "দুঃখিত, আমি একটি অনুরোধে সাহায্য করতে পারি না"),
    ("שני ילדים מעיפים עפיפון אדום בפארק", "עפיפון אדום בפארק, שני ילדים מעיפים",
     "אני מצטער, אני לא יכול לעזור עם זה"),
    ("ένας σκύλος τρέχει στην παραλία", "Στην παραλία τρέχει ένας σκύλος",
     "Δεν μπορώ να βοηθήσω με ένα τέτοιο αίτημα στην πράξη"),
    ("собака бежит по пляжу с мячом", "По пляжу с мячом бежит собака",
     "Я не могу помочь по этой теме с таким содержанием"),
    ("犬が海岸を走っている", "海岸で犬が駆けている",
     "申し訳ありませんが、そのご依頼にはお応えできません。"),
    ("개가 해변을 달리고 있다", "해변에서 개가 달린다",
     "죄송하지만 그 요청은 도와드릴 수 없습니다"),
    ("สุนัขวิ่งบนชายหาด", "บนชายหาดมีสุนัขกำลังวิ่ง",
     "ขออภัย ฉันไม่สามารถช่วยได้"),
    # of these the words are in no list
    ("ஒரு நாய் கடற்கரையில் ஓடுகிறது", "கடற்கரையில் ஒரு நாய் ஓடுகிறது",
     "மன்னிக்கவும், ஒரு கோரிக்கையை என்னால் நிறைவேற்ற முடியாது இப்போது"),
    ("ერთი ძაღლი გარბის სანაპიროზე", "სანაპიროზე ერთი ძაღლი გარბის",
     "უკაცრავად, ერთი ასეთი მოთხოვნის შესრულება არ შემიძლია ახლა"),
]  # fmt: skip


@pytest.mark.parametrize(("caption", "text", "refusal"), IN_OTHER_SCRIPTS)
def test_refusals_in_other_scripts_are_told_from_rewrites(caption: str, text: str, refusal: str) -> None:
    assert judged(caption, text) == (text, None)
    assert judged(caption, refusal, allow=("too-long",))[1] == "unrelated"
