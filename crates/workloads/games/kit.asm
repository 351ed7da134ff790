; Shared code of all games, appended to each of them. Subroutines may change v0 to v3 and vf.

; The page sends these keys for arrows, WASD, the touch pad and gamepads.
up = 5
left = 7
down = 8
right = 9
button = 6

; Waits for the next sixtieth of a second.
frame:
    ld v0, dt
    se v0, 0
    jp frame
    ld v0, 1
    ld dt, v0
    ret

beep:
    ld v0, 3
    ld st, v0
    ret

; Draws words. I: the words, v0: x, v1: y, v2: columns.
draw_text:
    drw v0, v1, 5
    add v0, 8
    ld v3, 5
    add i, v3
    add v2, -1
    se v2, 0
    jp draw_text
    ret

; Draws three digits of v2, 4x5. v0: x, v1: y.
draw_number:
    ld i, number_digits
    ld b, v2
    ld v2, v0
    ld v3, 0
number_more:
    ld i, number_digits
    add i, v3
    ld v0, [i]
    ld f, v0
    drw v2, v1, 5
    add v2, 5
    add v3, 1
    se v3, 3
    jp number_more
    ret

; Scrolls the picture off the screen with a long beep.
fall_away:
    ld v0, 20
    ld st, v0
    ld v1, 16
fall_more:
    call frame
    call frame
    scd 4
    add v1, -1
    se v1, 0
    jp fall_more
    ret

; "GAME OVER", then waits for any key.
the_end:
    ld i, over
    ld v0, over_x
    ld v1, 36
    ld v2, over_columns
    call draw_text
    ld i, again
    ld v0, again_x
    ld v1, 48
    ld v2, again_columns
    call draw_text
    ld v0, k
    ret

number_digits:
    ds 3
text over "GAME OVER"
text again "PRESS ANY KEY"
