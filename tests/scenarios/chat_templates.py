"""Chat templates in the manner of four families, written for these tests."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Begins with the beginning-of-sequence token, says the date, trims contents, has a body for training.
LLAMA3 = """{{- bos_token }}
{%- set date = "none" %}
{%- if strftime_now is defined %}{% set date = strftime_now("%d %b %Y") %}{% endif %}
{%- for message in messages %}
    {{- '[' + message.role + '|' + date + ']\\n\\n' }}
    {%- generation %}{{ message.content | trim }}{% endgeneration %}
    {{- eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '[assistant|' + date + ']\\n\\n' }}{%- endif %}
"""
# Refuses a system role and anything but user and assistant in turn.
GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{{- raise_exception('System role not supported') }}{% endif %}{% for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{- '<start>' + role + '\\n' + message['content'] | trim + '<end>\\n' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<start>model\\n' }}{% endif %}"""
# Takes a system message first, and then refuses what does not alternate.
MISTRAL = """{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}
{%- set rest = messages[1:] %}{%- else %}{%- set system = '' %}{%- set rest = messages %}{%- endif %}
{{- bos_token }}
{%- for message in rest %}
  {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
    {{- raise_exception('roles must alternate') }}
  {%- endif %}
  {%- if message['role'] == 'user' %}
    {{- '[INST]' + (system + '\\n' if loop.first and system else '') + message['content'] + '[/INST]' }}
  {%- else %}{{- message['content'] + eos_token }}{%- endif %}
{%- endfor %}"""
# Forgets the system message without a word.
DROPS_SYSTEM = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ message['role'] + ':' + message['content'] }}"
    "{% endif %}{% endfor %}"
)
# Forgets everything but the last message.
DROPS_ALL = "{{ messages[-1]['content'] }}"
REFUSES_ALL = "{{ raise_exception('not today\nnor tomorrow') }}"

KINDS = {"chatml": CHATML, "llama3": LLAMA3, "gemma": GEMMA, "mistral": MISTRAL, "drops system": DROPS_SYSTEM}
