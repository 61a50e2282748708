"""One client for language models behind OpenAI-compatible endpoints.

What is sent (prompts, masked and fenced data), how answers are got (retries, repair, budget) and checked. It knows no
warehouse and no Dagster; `journeys_dagster.resources.llm` hands it a cache. `openai` is imported when it is needed.
"""
