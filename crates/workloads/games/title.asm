; The screen while no game is selected. 64x32 pixels.
.title "Title"
.about "Pick a game"
.speed 60

pod = v4            ; which of the five lamps is lit
ticks = v5
stars = v6          ; twinkling

    ld i, name
    ld v0, name_x - 32
    ld v1, 9
    ld v2, name_columns
    call draw_text
    ld i, pick
    ld v0, pick_x - 32
    ld v1, 27
    ld v2, pick_columns
    call draw_text
    ld pod, 0
lamps:
    call draw_box
    add pod, 1
    se pod, 5
    jp lamps
    ld pod, 0
    ld ticks, 0
    call draw_lamp

show:
    call frame
    add ticks, 1
    ld v0, 3
    and v0, ticks
    sne v0, 0
    call twinkle
    se ticks, 40
    jp show
    ld ticks, 0
    call draw_lamp
    add pod, 1
    sne pod, 5
    ld pod, 0
    call draw_lamp
    jp show

; Replaces the oldest star by a new one: the sky has sixteen stars.
twinkle:
    ld i, sky
    add i, stars
    ld v1, [i]
    ld i, dot
    drw v0, v1, 1
    rnd v0, 63
    rnd v1, 7
    ld i, dot
    drw v0, v1, 1
    ld i, sky
    add i, stars
    ld [i], v1
    add stars, 2
    ld v0, 31
    and stars, v0
    ret

draw_box:
    call lamp_place
    ld i, box
    drw v0, v1, 6
    ret
draw_lamp:
    call lamp_place
    ld i, lamp
    drw v0, v1, 6
    ret
lamp_place:
    ld v1, pod
    ld v0, 8
lamp_right:
    sne v1, 0
    jp lamp_found
    add v0, 10
    add v1, -1
    jp lamp_right
lamp_found:
    ld v1, 18
    ret

text name "SLOTKEEPER"
text pick "PICK A GAME"
dot:
    db "#......."
box:
    db "########"
    db "#......#"
    db "#......#"
    db "#......#"
    db "#......#"
    db "########"
lamp:
    db "........"
    db "........"
    db "..####.."
    db "..####.."
    db "........"
    db "........"
sky:
    ds 32
