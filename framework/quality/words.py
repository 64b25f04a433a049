"""Expectations in words: `carrier must not be null`. Light, so that a plan can print them without Great Expectations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# {name} is an argument, {range} both bounds; "rows" and "values" are said as they are counted.
_TEMPLATES: Mapping[str, str] = {
    "expect_column_distinct_values_to_be_in_set": "every distinct value of {column} must be one of {value_set}",
    "expect_column_distinct_values_to_contain_set": "{column} must contain each of {value_set}",
    "expect_column_distinct_values_to_equal_set": "the distinct values of {column} must be {value_set}",
    "expect_column_max_to_be_between": "the maximum of {column} must be {range}",
    "expect_column_mean_to_be_between": "the mean of {column} must be {range}",
    "expect_column_median_to_be_between": "the median of {column} must be {range}",
    "expect_column_min_to_be_between": "the minimum of {column} must be {range}",
    "expect_column_most_common_value_to_be_in_set": "the most common value of {column} must be one of {value_set}",
    "expect_column_pair_values_a_to_be_greater_than_b": "{column_A} must be greater than {column_B}",
    "expect_column_pair_values_to_be_equal": "{column_A} must equal {column_B}",
    "expect_column_pair_values_to_be_in_set": "{column_A}, {column_B} must be one of {value_pairs_set}",
    "expect_column_proportion_of_non_null_values_to_be_between": "the share of {column} that is not null must be {range}",
    "expect_column_proportion_of_unique_values_to_be_between": "the share of distinct values of {column} must be {range}",
    "expect_column_quantile_values_to_be_between": "the quantiles of {column} must be within {quantile_ranges}",
    "expect_column_stdev_to_be_between": "the standard deviation of {column} must be {range}",
    "expect_column_sum_to_be_between": "the sum of {column} must be {range}",
    "expect_column_to_exist": "column {column} must exist",
    "expect_column_type_to_be": "{column} must be of type {type_}",
    "expect_column_unique_value_count_to_be_between": "the number of distinct values of {column} must be {range}",
    "expect_column_value_lengths_to_be_between": "the length of {column} must be {range}",
    "expect_column_value_lengths_to_equal": "the length of {column} must be {value}",
    "expect_column_value_z_scores_to_be_less_than": "the z-score of {column} must be below {threshold}",
    "expect_column_values_to_be_between": "{column} must be {range}",
    "expect_column_values_to_be_decreasing": "{column} must decrease from row to row",
    "expect_column_values_to_be_in_set": "{column} must be one of {value_set}",
    "expect_column_values_to_be_in_type_list": "{column} must be of one of the types {type_list}",
    "expect_column_values_to_be_increasing": "{column} must increase from row to row",
    "expect_column_values_to_be_json_parseable": "{column} must be JSON",
    "expect_column_values_to_be_null": "{column} must be null",
    "expect_column_values_to_be_of_type": "{column} must be of type {type_}",
    "expect_column_values_to_be_unique": "{column} must be unique",
    "expect_column_values_to_match_json_schema": "{column} must match its JSON schema",
    "expect_column_values_to_match_like_pattern": "{column} must be like {like_pattern}",
    "expect_column_values_to_match_regex": "{column} must match {regex}",
    "expect_column_values_to_match_regex_list": "{column} must match {regex_list}",
    "expect_column_values_to_match_strftime_format": "{column} must be a time written as {strftime_format}",
    "expect_column_values_to_not_be_in_set": "{column} must not be one of {value_set}",
    "expect_column_values_to_not_be_null": "{column} must not be null",
    "expect_column_values_to_not_be_outliers": "{column} must not have outliers",
    "expect_column_values_to_not_match_like_pattern": "{column} must not be like {like_pattern}",
    "expect_column_values_to_not_match_regex": "{column} must not match {regex}",
    "expect_column_values_to_not_match_regex_list": "{column} must not match any of {regex_list}",
    "expect_compound_columns_to_be_unique": "{column_list} must be unique together",
    "expect_multicolumn_sum_to_equal": "the sum of {column_list} must be {sum_total}",
    "expect_multicolumn_values_to_be_equal": "{column_list} must be equal",
    "expect_select_column_values_to_be_unique_within_record": "{column_list} must differ from each other",
    "expect_table_column_count_to_be_between": "the number of columns must be {range}",
    "expect_table_column_count_to_equal": "the number of columns must be {value}",
    "expect_table_columns_to_match_ordered_list": "the columns must be {column_list}, in this order",
    "expect_table_columns_to_match_set": "the columns must be {column_set}",
    "expect_table_row_count_to_be_between": "the number of rows must be {range}",
    "expect_table_row_count_to_equal": "the number of rows must be {value}",
    "unexpected_rows_expectation": "no row may be found by {unexpected_rows_query}",
}
_LONGEST_LIST = 6


def statement(kind: str, arguments: Mapping[str, Any]) -> str:
    """One expectation as a sentence without a full stop, from its type and its arguments."""
    template = _TEMPLATES.get(kind)
    shown = {key: _value(value) for key, value in arguments.items()}
    if template is None:
        words = kind.removeprefix("expect_").replace("_", " ")
        main = f"{words} ({', '.join(f'{key}: {value}' for key, value in shown.items())})"
    else:
        main = template.format_map(_Shown(shown, range=_range(arguments)))
    if arguments.get("or_equal"):
        main = main.replace("must be greater than", "must be at least")
    if arguments.get("exact_match") is False:
        main = main.replace("the columns must be", "the columns must include")
    mostly = arguments.get("mostly", 1)
    if mostly != 1:
        main += f" in at least {percent(mostly * 100) if isinstance(mostly, int | float) else mostly} of the rows"
    if arguments.get("row_condition"):
        main += f" where {arguments['row_condition']}"
    return main


def percent(value: float) -> str:
    """`1.3 %`; never 0 % or 100 % for what is only nearly so."""
    for digits in (1, 2, 3):
        text = f"{value:.{digits}f}"
        if float(text) not in (0.0, 100.0) or value in (0, 100):
            return f"{float(text):g} %"
    return "< 0.001 %" if value < 1 else "> 99.999 %"


class _Shown(dict[str, str]):
    """Arguments as text; one that was not given shows as its name."""

    def __missing__(self, key: str) -> str:
        return f"<{key}>"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple | set | frozenset):
        items = [str(item) for item in value]
        return ", ".join(items[:_LONGEST_LIST]) + (f", ... ({len(items)} in all)" if len(items) > _LONGEST_LIST else "")
    return " ".join(str(value).split())


def _range(arguments: Mapping[str, Any]) -> str:
    low, high = arguments.get("min_value"), arguments.get("max_value")
    above, below = bool(arguments.get("strict_min")), bool(arguments.get("strict_max"))
    if low is not None and high is not None and not above and not below:
        return f"between {_value(low)} and {_value(high)}"
    parts = []
    if low is not None:
        parts.append(f"{'more than' if above else 'at least'} {_value(low)}")
    if high is not None:
        parts.append(f"{'less than' if below else 'at most'} {_value(high)}")
    return " and ".join(parts) or "anything"
