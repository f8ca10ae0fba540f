"""Texts that a model, a scenario or a user may write to hurt a page that shows them."""

TEXTS = {
    "script": "<script>window.ran = 'script'; alert(1)</script>",
    "end_of_script": "</script><script>window.ran = 'end of script'; alert(1)</script>",
    "comment": "<!--<script>",
    "attribute": "\" onmouseover=\"window.ran='attribute'\" x='\" ' onfocus='window.ran=1' autofocus='",
    "image": "<img src=x onerror=\"window.ran='image'\"><img src='http://192.0.2.1/pixel.png'>",
    "link": "javascript:window.ran='link'",
    "style": "</style><style>body{display:none}</style><link rel=stylesheet href=http://192.0.2.1/x.css>",
    "refresh": "<meta http-equiv=refresh content='0;url=http://192.0.2.1/'><base href='http://192.0.2.1/'>",
    "template": "{{ 7 * 7 }}{% raw %}${window.ran=1}`+window.ran+`",
    "turned": "abc\u202egnp.exe\u2066\u2067 right to left",
    "controls": "nul\x00 bell\x07 escape\x1b[31m lines\u2028\u2029 end",
    "formula": '=HYPERLINK("http://192.0.2.1/";"x")',
    "long": "長い" * 175_000,
}
"""By kind; `long` is a line of a megabyte in UTF-8."""
