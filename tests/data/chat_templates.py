"""Chat templates, shortened to what they do with roles, tools, reasoning and ends of turns: facts of the formats."""
# ruff: noqa: E501

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Tools in a system turn; reasoning of the last turn alone; tool calls as JSON behind the text.
QWEN3 = """{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
{%- set content = m.content if m.content is string else '' %}
{%- if m.role == 'assistant' %}
{%- set reasoning = m.reasoning_content if m.reasoning_content is string else '' %}
{%- if not reasoning and '</think>' in content %}
{%- set reasoning = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}<|im_start|>assistant
{% if loop.index0 > ns.last %}<think>
{{ reasoning }}
</think>

{% endif %}{{ content }}
{%- for call in m.tool_calls or [] %}
{% if loop.index0 or content %}
{% endif %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% elif m.role == 'tool' %}<|im_start|>user
<tool_response>
{{ content }}
</tool_response><|im_end|>
{% else %}<|im_start|>{{ m.role }}
{{ content }}<|im_end|>
{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
# As Qwen3, but the turn is opened with <think>.
QWEN3_THINKING = QWEN3.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}")
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# Roles must alternate, there is no system role, and the assistant is called model.
GEMMA = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)
# What stands before </think> is dropped from a turn that is over; an opened one begins with <think>.
DEEPSEEK_R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}<|User|>{{ m['content'] }}"
    "{% else %}<|Assistant|>{{ m['content'].split('</think>')[-1] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
# Without a system turn there is one of its own; and the same with what the assistant writes marked.
SMOLLM2 = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\nYou are SmolLM<|im_end|>\n"
    "{% endif %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED = """{%- for m in messages %}
    {%- if m.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- generation %}
        {{- m.content + '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
# One call a turn, instead of its content; the result comes from ipython, as JSON; tools stand in the first question.
LLAMA31 = """{{- bos_token }}{%- set asked = namespace(first=true) %}
{%- for m in messages %}
{%- if m.role == 'user' and asked.first and tools %}{% set asked.first = false -%}
<|start_header_id|>user<|end_header_id|>

{% for t in tools %}{{ t | tojson }}

{% endfor %}{{ m.content | trim }}<|eot_id|>
{%- elif m.tool_calls %}{% set call = m.tool_calls[0].function -%}
<|start_header_id|>assistant<|end_header_id|>

{"name": "{{ call.name }}", "parameters": {{ call.arguments | tojson }}}<|eot_id|>
{%- elif m.role == 'tool' -%}<|start_header_id|>ipython<|end_header_id|>

{{ m.content | tojson }}<|eot_id|>
{%- else -%}<|start_header_id|>{{ m.role }}<|end_header_id|>

{{ m.content | trim }}<|eot_id|>
{%- endif %}{% endfor %}
{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""
# As Gemma 2, but the system's text begins the first question, and content may come in parts.
GEMMA3 = """{{ bos_token }}{% set first = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}
{%- for m in (messages[1:] if first else messages) %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif -%}
<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}
{{ first if loop.first }}
{%- if m.content is string %}{{ m.content | trim }}{% else %}{% for p in m.content %}{{ p.text | trim }}{% endfor %}{% endif -%}
<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""
# Tools stand before the last question, wherever that is.
MISTRAL3 = """{{- bos_token }}{% set last = (messages | selectattr('role', 'equalto', 'user') | list)[-1] %}
{%- for m in messages %}
{%- if m.role == 'user' %}{% if tools and m == last %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif -%}
[INST] {{ m.content }}[/INST]
{%- elif m.tool_calls -%}[TOOL_CALLS] [{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}]{{ eos_token }}
{%- elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}
{%- elif m.role == 'tool' -%}[TOOL_RESULTS] {"content": {{ m.content }}}[/TOOL_RESULTS]{% endif %}{% endfor %}"""
# What follows a tool's output is not opened, and of several turns of calls only the first is.
DEEPSEEK_TOOLS = """{% set ns = namespace(is_first=false, is_tool=false) %}{{ bos_token }}{% for m in messages %}
{%- if m.role == 'user' %}{% set ns.is_tool = false -%}<|User|>{{ m.content }}
{%- elif m.tool_calls %}{% set ns.is_tool = false %}{% for c in m.tool_calls %}
{%- if ns.is_first %}
{% else %}<|Assistant|><calls>{% set ns.is_first = true %}{% endif -%}
<call>{{ c.function.name }}
{{ c.function.arguments | tojson }}</call>{% endfor %}</calls>{{ eos_token }}
{%- elif m.role == 'assistant' %}
{%- if ns.is_tool %}</outputs>{% else %}<|Assistant|>{% endif %}{{ m.content.split('</think>')[-1] }}{{ eos_token }}
{%- set ns.is_tool = false %}
{%- elif m.role == 'tool' %}{% if not ns.is_tool %}<outputs>{% endif %}{% set ns.is_tool = true -%}
<output>{{ m.content }}</output>{% endif %}{% endfor %}
{%- if ns.is_tool %}</outputs>{% elif add_generation_prompt %}<|Assistant|><think>
{% endif %}"""
# Channels; what was thought before a call is dropped when an answer follows, and only the last answer ends in return.
HARMONY = """{% set ns = namespace(name='') %}{% for m in messages %}
{%- if m.role == 'assistant' %}
{%- if m.tool_calls %}{% set over = messages[loop.index:] | rejectattr('tool_calls', 'defined') | selectattr('role', 'equalto', 'assistant') | list -%}
{%- if m.thinking and not over %}<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}
{%- set ns.name = m.tool_calls[0].function.name -%}
<|start|>assistant to=functions.{{ ns.name }}<|channel|>commentary json<|message|>{{ m.tool_calls[0].function.arguments | tojson }}<|call|>
{%- elif loop.last and not add_generation_prompt %}
{%- if m.thinking %}<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif -%}
<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|return|>
{%- else -%}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|end|>{% endif %}
{%- elif m.role == 'tool' -%}<|start|>functions.{{ ns.name }} to=assistant<|channel|>commentary<|message|>{{ m.content | tojson }}<|end|>
{%- else -%}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|start|>assistant{% endif %}"""
NO_END = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

SPECIAL = [
    "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>",
    "<end_of_turn>", "<|User|>", "<|Assistant|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|call|>",
    "<|return|>",
]  # fmt: skip
"""Special tokens of these formats."""

ALL = {
    "chatml": CHATML, "qwen3": QWEN3, "qwen3_thinking": QWEN3_THINKING, "llama3": LLAMA3, "gemma": GEMMA,
    "mistral": MISTRAL, "deepseek_r1": DEEPSEEK_R1, "smollm2": SMOLLM2, "marked": MARKED, "llama31": LLAMA31,
    "gemma3": GEMMA3, "mistral3": MISTRAL3, "deepseek_tools": DEEPSEEK_TOOLS, "harmony": HARMONY,
}  # fmt: skip
ENDS = {
    "chatml": "<|im_end|>", "qwen3": "<|im_end|>", "qwen3_thinking": "<|im_end|>", "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>", "mistral": "</s>", "deepseek_r1": "</s>", "smollm2": "<|im_end|>", "marked": "<|im_end|>",
    "llama31": "<|eot_id|>", "gemma3": "<end_of_turn>", "mistral3": "</s>", "deepseek_tools": "</s>",
    "harmony": "<|return|>",
}  # fmt: skip
CALLS = ("qwen3", "qwen3_thinking", "llama31", "mistral3", "deepseek_tools", "harmony")
"""Formats that write calls of tools."""

_IM, _HEADER = r"<\|im_start\|>assistant\n", r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n"
WRITTEN = {
    "chatml": _IM + r"(.*?<\|im_end\|>)",
    "qwen3": _IM + r"(.*?<\|im_end\|>)",
    "qwen3_thinking": _IM + r"(?:<think>\n)?(.*?<\|im_end\|>)",
    "smollm2": _IM + r"(.*?<\|im_end\|>)",
    "marked": _IM + r"(.*?<\|im_end\|>)",
    "llama3": _HEADER + r"(.*?<\|eot_id\|>)",
    "llama31": _HEADER + r"(.*?<\|eot_id\|>)",
    "gemma": r"<start_of_turn>model\n(.*?<end_of_turn>)",
    "gemma3": r"<start_of_turn>model\n(.*?<end_of_turn>)",
    "mistral": r"\[/INST\](.*?</s>)",
    "mistral3": r"\[/(?:INST|TOOL_RESULTS)\](.*?</s>)",
    "deepseek_r1": r"<\|Assistant\|>(.*?</s>)",
    "deepseek_tools": r"(?:<\|Assistant\|>|</outputs>|(?:</output>|\?)(?=\n?<call>))(.*?</s>)",
    "harmony": r"<\|start\|>assistant((?:<\|channel\|>analysis[^<]*<\|message\|>[^<]*<\|end\|><\|start\|>assistant)?"
    r".*?<\|(?:call|return|end)\|>)",
}
"""Of each format, what finds the turns of the assistant in a text, where questions end with a question mark."""
